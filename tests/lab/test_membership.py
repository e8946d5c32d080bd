"""Members come, go, move and are exchanged while clients are at work, on real machines."""

from collections.abc import Iterable, Sequence

import pytest

from tests.lab.apply_with_faults import apply_attended, apply_cut
from tests.lab.load import load_on
from tests.lab.machine import Machine
from tests.lab.operator import Operator, lead
from tests.lab.test_bootstrap import by_path
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

MOVED = "192.168.8.166"


def nth(operator: Operator, *numbers: int) -> list[str]:
    """Names of the lab's machines, counted from 1: those that a test adds are not always called alike."""
    return [operator.lab.machines[number - 1].name for number in numbers]


def want(operator: Operator, members: Sequence[str], more: str = "") -> None:
    operator.write(version=VERSION, install=by_path(VERSION), members=members, more=more)


@pytest.mark.alone
def test_one_three_five_three_and_three_others(operator: Operator) -> None:
    """1 to 3 to 5 to 3 members, one of them to another address, and all three for three others; under load."""
    for _ in range(3):
        operator.lab.add_machine()
    moved = operator.lab.machines[0]
    want(operator, nth(operator, 1))
    operator.apply()
    operator.ctl("put", "greeting", "hello")
    with load_on(operator.lab, operator, nth(operator, 1)) as load:
        for numbers in ((1, 2, 3), (1, 2, 3, 4, 5), (1, 4, 5)):
            want(operator, nth(operator, *numbers))
            apply_attended(operator, load)
        load.remove(moved.name)  # its clients go on at the new address
        lead(
            operator, nth(operator, 4)[0]
        )  # a leader that changes its address by hand is gone for an election
        moved.readdress(MOVED)
        want(operator, nth(operator, 1, 4, 5))
        operator.apply()
        load.add(moved.name)
        load.report().assert_clean(restarted=nth(operator, 1, 2, 3))
    for machine in map(operator.lab.__getitem__, nth(operator, 2, 3)):
        assert_retired(machine)
        machine.reset()
    operator.lab.wait_ssh()
    want(operator, nth(operator, 2, 3, 6))
    with load_on(operator.lab, operator, nth(operator, 1, 4, 5)) as load:
        apply_attended(operator, load)
        load.report().assert_clean(restarted=nth(operator, 1, 4, 5))
    for machine in map(operator.lab.__getitem__, nth(operator, 1, 4, 5)):
        assert_retired(machine)
    comes_back_whole(operator, nth(operator, 2, 3, 6))


def assert_retired(machine: Machine) -> None:
    """Stopped, not started at boot, its data beside."""
    assert machine.run("systemctl is-active etcd", check=False).stdout.strip() == "inactive"
    assert machine.run("pgrep -x etcd", check=False).stdout == ""
    assert machine.run("ls -d /var/lib/etcd", check=False).returncode != 0
    assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
    assert machine.run("ls /etc/systemd/system/etcd.service", check=False).returncode != 0


def comes_back_whole(operator: Operator, members: Sequence[str]) -> None:
    """Every machine there is loses power at once; the members come back by themselves, and only they."""
    operator.lab.each(lambda machine: machine.kill())
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", "greeting", "--print-value-only").strip() == "hello"
    assert "nothing to do" in operator.apply()
    running = {each.name for each in operator.lab if each.run("pgrep -x etcd", check=False).stdout}
    assert running == set(members)


# Where etcdup is killed: at its first word of this step on the machine of this number; 0 is any.
SWAPPING = (
    ("AddLearner", 4),
    ("start", 4),
    ("PromoteMember", 4),
    ("RemoveMember", 0),
    ("DetachMember", 0),
    ("PromoteMember", 5),
)
GROWING = (
    ("PrepareHost", 3),
    ("AddLearner", 2),
    ("PromoteMember", 2),
    ("JoinMember", 3),
    ("PromoteMember", 3),
)


def test_killed_and_hosts_crashed_while_swapping_and_growing(operator: Operator) -> None:
    """Cut again and again, each apply goes on where the last was killed; at every other cut a host crashes too."""
    for _ in range(2):
        operator.lab.add_machine()
    want(operator, nth(operator, 1, 2, 3))
    operator.apply()
    operator.ctl("put", "greeting", "hello")
    with load_on(operator.lab, operator, nth(operator, 1)) as load:
        want(operator, nth(operator, 1, 4, 5))
        cut_again_and_again(operator, SWAPPING, operator.lab.machines[0])
        operator.apply()
        want(operator, nth(operator, 1, 2, 3, 4, 5))
        cut_again_and_again(operator, GROWING, operator.lab.machines[0])
        operator.apply()
        report = load.report()
    assert report.lost == report.ghosts == ()
    assert report.violation is None
    assert "nothing to do" in operator.apply()
    comes_back_whole(operator, nth(operator, 1, 2, 3, 4, 5))


def cut_again_and_again(operator: Operator, cuts: Iterable[tuple[str, int]], other: Machine) -> None:
    for index, (step, number) in enumerate(cuts):
        crash = other.kill if index % 2 else None
        apply_cut(operator, step, *nth(operator, *([number] if number else [])), at=crash)
        if crash:
            other.start()
            other.wait_ssh()
            wait_answering(operator, other.name)


def wait_answering(operator: Operator, name: str) -> None:
    """Until etcd on this machine serves again."""
    operator.lab[name].run("until systemctl is-active -q etcd; do sleep 0.2; done")
