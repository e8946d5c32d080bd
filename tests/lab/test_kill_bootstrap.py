"""etcdup is killed during a bootstrap on real machines: the next apply completes it."""

import json
import subprocess
import time
from collections.abc import Callable

import pytest

from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

# A bootstrap of three hosts has 51 commands, in four round trips a host. The journal has the commands of a round trip
# when it has ended. These kills come after every second of the twelve round trips.
KILL_AFTER = (31, 1, 19, 37, 43, 48)
# Files that appear on infra1 during its first round trip. A kill here cuts the connection within the round trip.
KILL_WHEN_WRITTEN = (
    f"opt/etcd/.{VERSION}.new/etcd",
    "etc/etcd/etcdup.json",
    "etc/etcd/pki/ca.pem",
    "etc/systemd/system/etcd.service",
    f"opt/etcd/{VERSION}/etcd",
)

UNFINISHED = r"\( -name '*.new' -o -name '*.etcdup.*' -o -name join.env \)"


def commands_done(operator: Operator) -> int:
    journal = operator.folder / ".etcdup" / "prod.jsonl"
    return journal.read_text().count('"command"') if journal.exists() else 0


def kill_once(operator: Operator, reached: Callable[[], bool]) -> None:
    """Start an apply, and kill it with SIGKILL as soon as the condition is true."""
    running = operator.start("apply", "--yes")
    deadline = time.monotonic() + 60
    while running.poll() is None and not reached() and time.monotonic() < deadline:
        time.sleep(0.001)
    running.kill()
    running.communicate()


def kill_after(operator: Operator, commands: int) -> int:
    """Kill an apply when its journal has that many commands, and return how many it has."""
    kill_once(operator, lambda: commands_done(operator) >= commands)
    return commands_done(operator)


def finish_apply(operator: Operator) -> None:
    """Assert that the next apply ends as one that was never killed."""
    output = operator.apply()
    assert output.count(HEALTHY) == 1
    operator.assert_nothing_to_do()
    for machine in operator.lab:
        assert json.loads(machine.read("/etc/etcd/etcdup.json"))["formed"] is True
        assert machine.run(f"find /opt/etcd /etc/etcd /run/etcdup {UNFINISHED}").stdout == ""


@pytest.mark.parametrize("commands", one_in_turn(*KILL_AFTER))
@pytest.mark.in_turn(0, 2)
def test_a_killed_bootstrap_is_completed_by_the_next_apply(operator: Operator, commands: int) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    done = kill_after(operator, commands)
    assert done >= commands, (
        "the bootstrap ended before the kill: it has fewer commands than this test assumes"
    )
    finish_apply(operator)


@pytest.mark.parametrize("path", one_in_turn(*KILL_WHEN_WRITTEN))
@pytest.mark.in_turn(1, 2)
def test_a_kill_within_a_round_trip_is_completed_by_the_next_apply(operator: Operator, path: str) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    file = operator.lab.machines[0].root / path
    kill_once(operator, file.exists)
    assert file.exists()
    finish_apply(operator)


def test_an_interrupted_apply_prints_the_next_command_and_frees_the_lock(operator: Operator) -> None:
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


def test_a_second_operator_is_refused_with_the_owner_of_the_lock(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    first = operator.start("apply", "--yes")
    while first.poll() is None and commands_done(operator) < 5:
        time.sleep(0.001)
    first.send_signal(19)  # SIGSTOP: the process keeps the lock and does nothing
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


def test_the_lock_of_a_killed_etcdup_is_free_at_once(operator: Operator) -> None:
    operator.write(version=VERSION, install=path_install(VERSION))
    kill_after(operator, 30)
    began = time.monotonic()
    done: subprocess.CompletedProcess[str] = operator.run("apply", "--yes")
    assert done.returncode == 0, output_of(done)
    assert time.monotonic() - began < 60
