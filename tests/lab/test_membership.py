"""Members come, go, move and are exchanged while clients are at work, on real machines."""

from collections.abc import Iterable, Sequence

import pytest

from tests.lab.apply_with_faults import apply_and_kill, apply_under_load
from tests.lab.load import load_on
from tests.lab.machine import Machine
from tests.lab.operator import Operator, move_leadership
from tests.lab.test_bootstrap import path_install
from tests.support.etcd_binaries import why_not

VERSION = "3.6.14"
pytestmark = pytest.mark.skipif(bool(why_not(VERSION)), reason=f"no etcd {VERSION}: {why_not(VERSION)}")

MOVED = "192.168.8.166"


def machine_names(operator: Operator, *numbers: int) -> list[str]:
    """Names of the lab's machines, counted from 1: those that a test adds are not always called alike."""
    return [operator.lab.machines[number - 1].name for number in numbers]


def write_members(operator: Operator, members: Sequence[str], more: str = "") -> None:
    operator.write(version=VERSION, install=path_install(VERSION), members=members, more=more)


@pytest.mark.alone
def test_one_three_five_three_and_three_others(operator: Operator) -> None:
    """1 to 3 to 5 to 3 members, one of them to another address, and all three for three others; under load."""
    for _ in range(3):
        operator.lab.add_machine()
    moved = operator.lab.machines[0]
    write_members(operator, machine_names(operator, 1))
    operator.apply()
    operator.ctl("put", "greeting", "hello")
    with load_on(operator.lab, operator, machine_names(operator, 1)) as load:
        for numbers in ((1, 2, 3), (1, 2, 3, 4, 5), (1, 4, 5)):
            write_members(operator, machine_names(operator, *numbers))
            apply_under_load(operator, load)
        load.remove(moved.name)  # its clients go on at the new address
        move_leadership(
            operator, machine_names(operator, 4)[0]
        )  # a leader that changes its address by hand is gone for an election
        moved.readdress(MOVED)
        write_members(operator, machine_names(operator, 1, 4, 5))
        operator.apply()
        load.add(moved.name)
        load.report().assert_clean(restarted=machine_names(operator, 1, 2, 3))
    for machine in map(operator.lab.__getitem__, machine_names(operator, 2, 3)):
        assert_archived(machine)
        machine.reset()
    operator.lab.wait_ssh()
    write_members(operator, machine_names(operator, 2, 3, 6))
    with load_on(operator.lab, operator, machine_names(operator, 1, 4, 5)) as load:
        apply_under_load(operator, load)
        load.report().assert_clean(restarted=machine_names(operator, 1, 4, 5))
    for machine in map(operator.lab.__getitem__, machine_names(operator, 1, 4, 5)):
        assert_archived(machine)
    assert_returns_after_power_cut(operator, machine_names(operator, 2, 3, 6))


def assert_archived(machine: Machine) -> None:
    """Stopped, not started at boot, its data beside."""
    assert machine.run("systemctl is-active etcd", check=False).stdout.strip() == "inactive"
    assert machine.run("pgrep -x etcd", check=False).stdout == ""
    assert machine.run("ls -d /var/lib/etcd", check=False).returncode != 0
    assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
    assert machine.run("ls /etc/systemd/system/etcd.service", check=False).returncode != 0


def assert_returns_after_power_cut(operator: Operator, members: Sequence[str]) -> None:
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
SWAP_KILL_STEPS = (
    ("AddLearner", 4),
    ("start", 4),
    ("PromoteMember", 4),
    ("RemoveMember", 0),
    ("DetachMember", 0),
    ("PromoteMember", 5),
)
GROW_KILL_STEPS = (
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
    write_members(operator, machine_names(operator, 1, 2, 3))
    operator.apply()
    operator.ctl("put", "greeting", "hello")
    with load_on(operator.lab, operator, machine_names(operator, 1)) as load:
        write_members(operator, machine_names(operator, 1, 4, 5))
        kill_repeatedly(operator, SWAP_KILL_STEPS, operator.lab.machines[0])
        operator.apply()
        write_members(operator, machine_names(operator, 1, 2, 3, 4, 5))
        kill_repeatedly(operator, GROW_KILL_STEPS, operator.lab.machines[0])
        operator.apply()
        report = load.report()
    assert report.lost == report.ghosts == ()
    assert report.violation is None
    assert "nothing to do" in operator.apply()
    assert_returns_after_power_cut(operator, machine_names(operator, 1, 2, 3, 4, 5))


def kill_repeatedly(operator: Operator, cuts: Iterable[tuple[str, int]], other: Machine) -> None:
    for index, (step, number) in enumerate(cuts):
        crash = other.kill if index % 2 else None
        apply_and_kill(operator, step, *machine_names(operator, *([number] if number else [])), at=crash)
        if crash:
            other.start()
            other.wait_ssh()
            wait_until_serving(operator, other.name)


def wait_until_serving(operator: Operator, name: str) -> None:
    """Until etcd on this machine serves again."""
    operator.lab[name].run("until systemctl is-active -q etcd; do sleep 0.2; done")
