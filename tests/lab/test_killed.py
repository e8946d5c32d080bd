"""etcdup killed in the middle of a bootstrap, on real machines: the next apply ends where an uncut one does."""

import json
import subprocess
import time

import pytest

from tests.lab.operator import HEALTHY, Operator, said
from tests.lab.test_bootstrap import by_path
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

# Of the 51 commands of a bootstrap of three, spread from the first to the last; the journal has a line for each.
CUTS = (1, 6, 11, 16, 21, 26, 31, 36, 41, 46, 49)

HALF_DONE = r"\( -name '*.new' -o -name '*.etcdup.*' -o -name join.env \)"


def commands_done(operator: Operator) -> int:
    journal = operator.folder / ".etcdup" / "prod.jsonl"
    return journal.read_text().count('"command"') if journal.exists() else 0


def kill_after(operator: Operator, commands: int) -> int:
    """Starts an apply and kills it with SIGKILL once that many commands are in its journal."""
    running = operator.start("apply", "--yes")
    deadline = time.monotonic() + 60
    while running.poll() is None and commands_done(operator) < commands and time.monotonic() < deadline:
        time.sleep(0.001)
    running.kill()
    running.communicate()
    return commands_done(operator)


@pytest.mark.parametrize("cut", CUTS)
def test_killed_and_applied_again(operator: Operator, cut: int) -> None:
    operator.write(version=VERSION, install=by_path(VERSION))
    done = kill_after(operator, cut)
    assert done >= cut, "the bootstrap ended before it could be cut: fewer commands than this test thinks"
    words = operator.apply()
    assert words.count(HEALTHY) == 1
    assert "nothing to do" in operator.apply()
    for machine in operator.lab:
        assert json.loads(machine.read("/etc/etcd/etcdup.json"))["formed"] is True
        assert machine.run(f"find /opt/etcd /etc/etcd /run/etcdup {HALF_DONE}").stdout == ""


def test_interrupted_it_says_what_is_done_and_frees_the_lock(operator: Operator) -> None:
    operator.write(version=VERSION, install=by_path(VERSION))
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
    operator.write(version=VERSION, install=by_path(VERSION))
    first = operator.start("apply", "--yes")
    while first.poll() is None and commands_done(operator) < 5:
        time.sleep(0.001)
    first.send_signal(19)  # SIGSTOP: it holds the lock and does nothing
    try:
        second = operator.run("apply", "--yes")
        assert second.returncode == 4, said(second)
        assert "another etcdup is at work on infra1: " in second.stderr
        assert "`etcdup apply` since " in second.stderr
        assert f"pid {first.pid}" in second.stderr
    finally:
        first.send_signal(18)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, (out, err)


def test_a_dead_holder_frees_the_lock_at_once(operator: Operator) -> None:
    operator.write(version=VERSION, install=by_path(VERSION))
    kill_after(operator, 30)
    began = time.monotonic()
    done: subprocess.CompletedProcess[str] = operator.run("apply", "--yes")
    assert done.returncode == 0, said(done)
    assert time.monotonic() - began < 60
