"""The explanation of the last lines of a member's log."""

import pytest

from etcdup.core.etcd.log_messages import explain_log, explain_starts, telling_lines
from tests.support.texts import Texts

SYSTEMD = [
    "etcd.service: Main process exited, code=exited, status=1/FAILURE",
    "etcd.service: Failed with result 'exit-code'.",
    "Failed to start etcd.service - etcd, member infra4 of cluster prod.",
    "etcd.service: Scheduled restart job, restart counter is at 2.",
    "Starting etcd.service - etcd, member infra4 of cluster prod...",
]
# Written by etcd 3.6.14, without the times.
BANANA = (
    '{"level":"warn","caller":"etcdmain/etcd.go:66","msg":"failed to verify flags",'
    '"error":"invalid value \\"banana\\" for ETCD_SNAPSHOT_COUNT: parse error"}'
)
STRANGE = '{"level":"fatal","msg":"something new","error":"never heard of"}'
PANIC = [
    'panic: never heard of: "nonsense"',
    "",
    "goroutine 1 [running]:",
    "go.etcd.io/etcd/client/pkg/v3/logutil.ConvertToZapLevel({0x542c91c206f?, 0x0?})",
    "\tgo.etcd.io/etcd/client/pkg/v3@v3.6.14/logutil/log_level.go:27 +0x51",
    "go.etcd.io/etcd/server/v3/embed.(*Config).setupLogging(0x542c95e2808)",
    "main.main()",
    "\tgo.etcd.io/etcd/server/v3@v3.6.14/main.go:31 +0x28",
]


def test_a_setting_that_etcd_rejects_is_reported(texts: Texts) -> None:
    known = explain_log([BANANA, *SYSTEMD, BANANA, *SYSTEMD])
    assert known is not None
    meaning, line = known
    texts(meaning)
    assert line == 'failed to verify flags invalid value "banana" for ETCD_SNAPSHOT_COUNT: parse error'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([STRANGE], "something new never heard of"),
        (PANIC, 'panic: never heard of: "nonsense"'),
    ],
)
def test_an_unknown_message_is_shown_without_routine_lines(lines: list[str], expected: str) -> None:
    assert telling_lines([*lines, *SYSTEMD, *lines, *SYSTEMD]) == [expected]


ROUTINE = [
    '{"level":"warn","msg":"simple token is not cryptographically signed"}',
    '{"level":"warn","msg":"Running http and grpc server on single port. This is not recommended for production."}',
]
WARNING = '{"level":"warn","msg":"slow fdatasync"}'


def test_what_a_process_writes_because_it_ends_is_no_reason() -> None:
    ending = (
        '{"level":"error","msg":"setting up serving from embedded etcd failed.",'
        '"error":"accept tcp 127.0.0.1:2379: use of closed network connection"}'
    )
    assert explain_starts([[ending]]) == ([], "")
    assert explain_starts([[STRANGE, ending]]) == (["something new never heard of"], "")


def test_a_hint_has_the_name_of_the_host(texts: Texts) -> None:
    _, hint = explain_starts([["/var/lib/etcd holds no member: is its disk mounted?"]], "infra2")
    texts(hint)


def test_warnings_that_every_start_writes_are_no_reason() -> None:
    assert telling_lines(ROUTINE) == []
    assert explain_starts([ROUTINE]) == ([], "")
    assert explain_starts([[*ROUTINE, WARNING]]) == (["slow fdatasync"], "")


def test_the_newest_start_that_has_a_reason_explains_the_failure() -> None:
    shown, hint = explain_starts([[BANANA], [*ROUTINE, WARNING]])
    assert "settings" in shown[0]
    assert hint
    assert explain_starts([[BANANA], [STRANGE, WARNING]]) == (["something new never heard of"], "")
    assert explain_starts([]) == ([], "")


@pytest.mark.parametrize(
    "line",
    [
        "Failed at step NAMESPACE spawning /bin/sh: Permission denied",
        "Failed to set up mount namespacing: /run/systemd/unit-root/proc: Permission denied",
        "Failed to set up mount namespacing: /run/systemd/unit-root/mnt/wal: No such file or directory",
        "Failed at step EXEC spawning /bin/sh: Permission denied",
        "Failed at step USER spawning /bin/sh: No such process",
        "Failed at step LIMITS spawning /bin/sh: Operation not permitted",
        "open /var/lib/etcd/member: permission denied",
    ],
)
def test_why_systemd_does_not_start_the_process(texts: Texts, line: str) -> None:
    """The lines are those of exec_child of systemd 252. "Permission denied" has another cause for each step."""
    known = explain_log([f"etcd.service: {line}"])
    assert known is not None
    texts(known[0])
