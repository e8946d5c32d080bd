"""`etcdup recover` on real local members that lost their quorum, without data loss or with it.

Questions about unreachable hosts are tested in tests/lab/test_recover.py.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import VERSION, Etcdup, demo_folder, lines_with, notes_of, running_demo, wait_until
from tests.support.expired_certs import issue_expired_leaves
from tests.support.keyboard import CTRL_C, run_interactively
from tests.support.texts import Texts

YES = ("--yes-recover", "demo")
NAME_PROMPT = "Type the name of the cluster to confirm (demo): "
VERSION_OF_FIVE = "3.7.1"
# The recovery is killed at a step of each kind. The same command resumes each time.
KILL_STEPS = (
    "StageRestore",
    "StopMembers",
    "CopyData",
    "RetireMember",
    "PlaceData",
    "InstallFiles",
    "StartRestored",
    "FenceOff",
    "SealRestore",
)

pytestmark = pytest.mark.apart


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Etcdup]:
    with running_demo(tmp_path, VERSION) as etcdup:
        yield etcdup


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Etcdup]:
    with running_demo(tmp_path, VERSION_OF_FIVE, members=5) as etcdup:
        yield etcdup


def pid_of(etcdup: Etcdup, number: int) -> int:
    return int((demo_folder(etcdup) / f"infra{number}/run/etcdup/etcd.pid").read_text())


def kill(etcdup: Etcdup, *numbers: int) -> None:
    for pid in (pid_of(etcdup, number) for number in numbers):
        os.kill(pid, signal.SIGKILL)
        wait_until(partial(has_ended, pid), "etcd does not end")


def has_ended(pid: int) -> bool:
    """Return whether the process has ended or is a zombie."""
    return not Path(f"/proc/{pid}/exe").exists()


def expire_all(etcdup: Etcdup) -> None:
    for _, path, content in issue_expired_leaves(demo_folder(etcdup) / "cluster.yaml"):
        Path(path).write_bytes(content)


def read_cluster_id(etcdup: Etcdup) -> int:
    done = etcdup("ctl", "--endpoint", "infra1", "--", "get", "/a", "--write-out=json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["count"] == 1
    return int(found["header"]["cluster_id"])


@pytest.mark.in_turn(0, 2)
def test_expired_certificates_are_renewed_and_stopped_members_started(texts: Texts, up: Etcdup) -> None:
    assert up("ctl", "--endpoint", "infra1", "--", "put", "/a", "kept").returncode == 0
    before = read_cluster_id(up)
    kill(up, 1, 2)
    expire_all(up)
    assert up("health").returncode == 1

    told = up("recover", "--json")
    assert told.returncode == 3, told.stderr
    steps = [step["step"] for step in json.loads(told.stdout)["plan"]["steps"]]
    assert steps == ["IssueCertificates", *["InstallFiles"] * 3, "StartMember", "StartMember"]
    assert up("recover").returncode == 2, "a confirmation is required"

    texts(notes_of(told))
    done = up("recover", *YES)
    assert done.returncode == 0, done.stderr
    texts(lines_with("The quorum", done.stderr))
    assert done.stdout.splitlines()[-1] == "cluster is healthy"
    assert read_cluster_id(up) == before
    assert up("certs", "list").returncode == 0
    assert up("recover", *YES).returncode == 4, "it has a quorum"


def test_members_that_run_and_do_not_respond_are_refused(texts: Texts, up: Etcdup) -> None:
    """Two members are frozen and have their data: nothing can be started, and no data is lost."""
    for number in (2, 3):
        os.kill(pid_of(up, number), signal.SIGSTOP)
    try:
        done = up("recover", "--json", *YES)
        while "the cluster has a quorum" in done.stderr:  # the third still follows its old leader
            done = up("recover", "--json", *YES)
    finally:
        for number in (2, 3):
            os.kill(pid_of(up, number), signal.SIGCONT)
    texts(done)
    (refused,) = json.loads(done.stdout)["error"]["refused"]
    assert refused["rules"] == [62, 68]


@pytest.mark.in_turn(1, 2)
def test_the_newer_of_two_survivors_is_used_and_a_killed_recovery_resumes(
    texts: Texts,
    five: Etcdup,
) -> None:
    assert five("ctl", "--endpoint", "infra1", "--", "put", "/a", "kept").returncode == 0
    leave_behind(five, 1, (2, 3, 4, 5))
    lose_disks(five, 3, 4, 5)
    wait_until(
        lambda: "has a quorum" not in five("recover", "--json").stderr, "two of five still have a leader"
    )
    for answer in ("another", CTRL_C):
        code, screen = run_interactively(five.on_terminal("recover"), [(NAME_PROMPT, answer)])
        assert code == 130, screen
    texts(notes_of(five("recover", "--json")))

    first, *others = KILL_STEPS
    code, screen = run_interactively(five.on_terminal("recover", cut=first), [(NAME_PROMPT, "demo")])
    assert code == -signal.SIGKILL, screen
    for kind in others:
        five.kill_at(kind, "recover", *YES)
    done = five("recover", *YES)
    texts(done)
    for key in ("/a", "/late"):
        assert five("ctl", "--", "get", key, "--print-value-only").stdout == "kept\n"
    assert five("ctl", "--", "member", "list").stdout.count("infra") == 1
    for number in (1, 2):
        assert list((demo_folder(five) / "backups").glob(f"*-recover-infra{number}-*.db"))
        (copy,) = data_dir(five, number).parent.glob("etcd.cold-*")
        (aside,) = data_dir(five, number).parent.glob("etcd.aside-*")
        assert contents(copy) == contents(aside)
        assert (copy / "member/snap/db").stat().st_size


def leave_behind(etcdup: Etcdup, left: int, others: tuple[int, ...]) -> None:
    """Let the other members write a key that this member does not have.

    This member is frozen, and the others are restarted, so that no connection has buffered messages for it.
    """
    os.kill(pid_of(etcdup, left), signal.SIGSTOP)
    kill(etcdup, *others)
    for starting in [
        subprocess.Popen(["sh", "-c", script_without_check(etcdup, number)]) for number in others
    ]:
        assert starting.wait() == 0
    late = ("ctl", "--endpoint", f"infra{others[0]}", "--")
    wait_until(lambda: etcdup(*late, "put", "/late", "kept").returncode == 0, "they take no write")
    # A linearizable read, so that this member has applied the write.
    assert etcdup(*late, "get", "/late", "--print-value-only").stdout == "kept\n"


def script_without_check(etcdup: Etcdup, number: int) -> str:
    """Return a member's start script without the initial corruption check, which waits seven seconds for each peer."""
    script = (demo_folder(etcdup) / f"infra{number}/etc/start-etcd").read_text()
    gate = "InitialCorruptCheck"
    unchecked = f'ETCD_FEATURE_GATES=$(echo "$ETCD_FEATURE_GATES" | sed s/{gate}=true/{gate}=false/)'
    before, line, after = script.partition("set +a\n")
    assert line
    return f"{before}{line}{unchecked}\n{after}"


def lose_disks(etcdup: Etcdup, *numbers: int) -> None:
    """Kill these members and delete their data. Then the frozen member continues."""
    kill(etcdup, *numbers)
    for number in numbers:
        shutil.rmtree(data_dir(etcdup, number))
    os.kill(pid_of(etcdup, 1), signal.SIGCONT)


def data_dir(etcdup: Etcdup, number: int) -> Path:
    return demo_folder(etcdup) / f"infra{number}/var/lib/etcd"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
