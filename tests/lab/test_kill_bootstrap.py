"""etcdup killed in the middle of a bootstrap, on real machines: the next apply ends where an uncut one does."""

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

# A bootstrap of three has 51 commands. They go in trips, four a host, and the journal has their lines when a trip
# is over: these cuts come after every other one of the twelve trips.
KILL_AFTER = (1, 19, 31, 37, 43, 48)
# What comes up on infra1 within its first trip: cut here, the trip ends with its connection.
KILL_WHEN_WRITTEN = (
    "etc/etcd/etcdup.json",
    "etc/etcd/pki/ca.pem",
    "etc/systemd/system/etcd.service",
    f"opt/etcd/.{VERSION}.new/etcd",
    f"opt/etcd/{VERSION}/etcd",
)

HALF_DONE = r"\( -name '*.new' -o -name '*.etcdup.*' -o -name join.env \)"


def commands_done(operator: Operator) -> int:
    journal = operator.folder / ".etcdup" / "prod.jsonl"
    return journal.read_text().count('"command"') if journal.exists() else 0


def kill_once(operator: Operator, reached: Callable[[], bool]) -> None:
    """Starts an apply and kills it with SIGKILL as soon as that is so."""
    running = operator.start("apply", "--yes")
    deadline = time.monotonic() + 60
    while running.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.001)
    running.kill()
    running.communicate()


def kill_after(operator: Operator, commands: int) -> int:
    """Kills an apply once that many commands are in its journal, and returns how many are."""
    kill_once(operator, lambda: commands_done(operator) >= commands)
    return commands_done(operator)


def finish_apply(operator: Operator) -> None:
    """The next apply must end where an uncut one does."""
    words = operator.apply()
    assert words.count(HEALTHY) == 1
    assert "nothing to do" in operator.apply()
    for machine in operator.lab:
        assert json.loads(machine.read("/etc/etcd/etcdup.json"))["formed"] is True
        assert machine.run(f"find /opt/etcd /etc/etcd /run/etcdup {HALF_DONE}").stdout == ""


@pytest.mark.parametrize("cut", KILL_AFTER)
def test_killed_and_applied_again(operator: Operator, cut: int) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    done = kill_after(operator, cut)
    assert done >= cut, "the bootstrap ended before it could be cut: fewer commands than this test thinks"
    finish_apply(operator)


@pytest.mark.parametrize("sight", KILL_WHEN_WRITTEN)
def test_killed_within_a_trip(operator: Operator, sight: str) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    seen = operator.lab.machines[0].root / sight
    kill_once(operator, seen.exists)
    assert seen.exists()
    finish_apply(operator)


def test_interrupted_it_says_what_is_done_and_frees_the_lock(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    running = operator.start("apply", "--yes")
    while running.poll() is None and commands_done(operator) < 20:
        time.sleep(0.001)
    running.send_signal(2)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130, (out, err)
    assert "Traceback" not in err
    assert "run `etcdup apply` again" in err
    operator.apply()


def test_a_second_operator_is_told_who_is_at_work(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    first = operator.start("apply", "--yes")
    while first.poll() is None and commands_done(operator) < 5:
        time.sleep(0.001)
    first.send_signal(19)  # SIGSTOP: it holds the lock and does nothing
    try:
        second = operator.run("apply", "--yes")
        assert second.returncode == 4, output_of(second)
        assert "infra1 is locked by another etcdup: " in second.stderr
        assert "`etcdup apply` since " in second.stderr
        assert f"pid {first.pid}" in second.stderr
    finally:
        first.send_signal(18)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, (out, err)


def test_a_dead_holder_frees_the_lock_at_once(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    kill_after(operator, 30)
    began = time.monotonic()
    done: subprocess.CompletedProcess[str] = operator.run("apply", "--yes")
    assert done.returncode == 0, output_of(done)
    assert time.monotonic() - began < 60
