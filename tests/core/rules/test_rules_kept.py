"""Rules that nothing else shows: etcdup's settings, its unit, its first start and its words after a restore."""

from pathlib import Path

import pytest

from etcdup.core.audit.findings import HostInspection
from etcdup.core.audit.settings import settings_findings
from etcdup.core.host.actions import STOP_TIMEOUT_S, start_command, stop_command
from etcdup.core.host.settings import settings_of
from etcdup.core.host.unit import unit_text
from etcdup.core.plan.plan import Plan
from etcdup.core.planner.planner import plan
from etcdup.core.restore.client_notes import WATCHERS_TO_RESTART, restart_line
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.version import parse_version
from etcdup.ops.members.lifecycle import FORM_TIMEOUT_S, HEAD_START_S
from tests.support.audit_evidence import SAFE_SETTINGS
from tests.support.fake_world import TOKEN, bring_up, machines_for, spec_of
from tests.support.initial_states import BASE, Target, first_states, prepared
from tests.support.observed_model import ObservedModel

UNIT = unit_text("prod", "infra1", layout_of(spec_of(), spec_of().hosts[0])).splitlines()
GATES = "InitialCorruptCheck=true,CompactHashCheck=true"


def variables(version: str) -> dict[str, str]:
    spec = spec_of(version=version)
    host = spec.hosts[0]
    return settings_of(spec, host, layout_of(spec, host), TOKEN, peer_common_name=None, trust="").variables()


def test_a_start_does_not_wait_for_readiness() -> None:
    """Rule 1: etcd is ready only with a quorum, which a start of one host after the other never has."""
    assert "--no-block" in start_command(layout_of(spec_of(), spec_of().hosts[0])).argv
    assert {"Type=notify", "TimeoutStartSec=infinity"} <= set(UNIT)


async def test_the_first_member_of_a_new_cluster_starts_before_the_others(tmp_path: Path) -> None:
    """Rule 2. In the time between, exactly one member has been started."""
    spec = spec_of(3)
    network = machines_for(spec)
    wait, started = network.sleep, []

    def running() -> list[str]:
        return [name for name, machine in network.machines.items() if machine.process is not None]

    async def sleep(seconds: float) -> None:
        if seconds == HEAD_START_S:
            started.append(running())
        await wait(seconds)

    network.sleep = sleep  # type: ignore[method-assign]
    await bring_up(spec, network, tmp_path)
    assert [len(names) for names in started] == [1]
    assert len(running()) == 3


def test_a_new_cluster_has_its_time() -> None:
    """Rule 3."""
    assert 30 <= FORM_TIMEOUT_S <= 60


def test_plain_http_between_peers_is_found() -> None:
    """Rule 22: no setting alone makes it https, so the finding has a rule of its own."""
    (found,) = settings_findings(
        HostInspection("infra1", SAFE_SETTINGS | {"listen-peer-urls": "http://10.0.0.1:2380"})
    )
    assert (found.level, found.rules) == ("wrong", (22,))


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("3.4.24", False),
        ("3.4.25", True),
        ("3.5.7", False),
        ("3.5.8", True),
        ("3.6.14", True),
        ("3.7.1", True),
    ],
)
def test_the_floor_of_tls_is_set_where_etcd_has_the_option(version: str, known: bool) -> None:
    """Rule 24. An option that etcd does not have has no effect, and would be drift for ever."""
    assert variables(version).get("ETCD_TLS_MIN_VERSION") == ("TLS1.2" if known else None)


def test_two_dead_members_of_five_leave_before_anything_else() -> None:
    """Rule 37: this works on every release, and additions do not."""
    before, after = spec_of(5, version=BASE), spec_of([1, 2, 3, 6, 7], version=BASE)
    cluster = prepared(Target("two others", after, (3, 4)), before, next(first_states(tuple("HHHDD"))))
    answer = plan(after, ObservedModel(before, after).observed(cluster), TOKEN)
    assert isinstance(answer, Plan)
    changes = [step.kind for step in answer.steps if step.kind in ("RemoveMember", "AddLearner")]
    assert changes == ["RemoveMember", "RemoveMember", "AddLearner", "AddLearner"]


def test_etcd_has_time_to_stop() -> None:
    """Rule 40: systemd kills it after a minute, and etcdup gives up later than that."""
    assert "TimeoutStopSec=60" in UNIT
    assert stop_command(layout_of(spec_of(), spec_of().hosts[0])).timeout_s == STOP_TIMEOUT_S > 60


def test_the_clients_to_restart_after_a_restore_are_named_in_order() -> None:
    """Rules 69 and 104."""
    programs = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
    positions = [WATCHERS_TO_RESTART.index(program) for program in programs]
    assert positions == sorted(positions)
    assert WATCHERS_TO_RESTART in restart_line(parse_version("3.4.23"))
    assert WATCHERS_TO_RESTART not in restart_line(parse_version("3.5.33")), "the revisions are raised there"


@pytest.mark.parametrize(
    ("version", "checks"),
    [
        ("3.4.23", {"ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK": "true"}),
        ("3.5.4", {"ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK": "true"}),
        (
            "3.5.5",
            {
                "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK": "true",
                "ETCD_EXPERIMENTAL_COMPACT_HASH_CHECK_ENABLED": "true",
            },
        ),
        ("3.6.14", {"ETCD_FEATURE_GATES": GATES}),
        ("3.7.1", {"ETCD_FEATURE_GATES": GATES}),
    ],
)
def test_corruption_checks_are_on_by_the_names_of_each_minor(version: str, checks: dict[str, str]) -> None:
    """Rules 51 and 80."""
    own = {name: value for name, value in variables(version).items() if "CHECK" in name or "GATES" in name}
    assert own == checks


@pytest.mark.parametrize("version", ["3.4.23", "3.5.33", "3.6.14", "3.7.1"])
def test_defaults_that_differ_between_minors_are_set_alike(version: str) -> None:
    """Rules 78, 87, 88 and 101. The election tick advance is on by default, and stays so."""
    own = variables(version)
    assert own["ETCD_SNAPSHOT_COUNT"] == "10000"
    assert own.get("ETCD_PRE_VOTE") == ("true" if version.startswith("3.4.") else None)
    assert "ETCD_INITIAL_ELECTION_TICK_ADVANCE" not in own
    prefix = {"3.4": "", "3.5": "ETCD_EXPERIMENTAL_"}.get(version[:3], "ETCD_")
    names = {name: value for name, value in own.items() if "WATCH_PROGRESS" in name}
    assert names == ({f"{prefix}WATCH_PROGRESS_NOTIFY_INTERVAL": "5s"} if prefix else {})


def test_metrics_are_on_loopback_and_clients_on_the_host() -> None:
    """Rule 85."""
    own = variables("3.6.14")
    assert own["ETCD_LISTEN_METRICS_URLS"].startswith("http://127.0.0.1:")
    urls = own["ETCD_LISTEN_CLIENT_URLS"].split(",")
    assert all(url.startswith("https://") and "0.0.0.0" not in url for url in urls)
    assert any(url.startswith("https://127.0.0.1:") for url in urls)


def test_the_unit_is_hardened_and_starts_nothing_without_its_disk() -> None:
    """Rule 89."""
    wanted = {
        "User=etcd", "NotifyAccess=main", "Restart=on-failure", "StartLimitIntervalSec=0", "LimitNOFILE=65536",
        "OOMScoreAdjust=-999", "NoNewPrivileges=yes", "ProtectSystem=strict", "RequiresMountsFor=/var/lib/etcd",
        "NoExecPaths=/var/lib/etcd /tmp /var/tmp", "LimitCORE=0", "ProtectProc=invisible", "PrivateMounts=yes",
        "SystemCallFilter=~@privileged @resources", "SystemCallErrorNumber=EPERM",
    }  # fmt: skip
    assert wanted <= set(UNIT)
    assert any("ls /var/lib/etcd/member/wal/" in line for line in UNIT)
