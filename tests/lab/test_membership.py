"""Members are added, removed, moved and swapped under load, on real machines."""

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
    """Return names of the lab's machines, counted from 1. Names of added machines differ between tests."""
    return [operator.lab.machines[number - 1].name for number in numbers]


def write_members(operator: Operator, members: Sequence[str], more: str = "") -> None:
    operator.write(version=VERSION, install=path_install(VERSION), members=members, more=more)


@pytest.mark.alone
@pytest.mark.in_turn(0, 4)
def test_members_are_added_removed_moved_and_all_swapped_under_load(operator: Operator) -> None:
    """From 1 to 3, 5 and 3 members; then one gets another address, and three other hosts replace all three."""
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
        load.remove(moved.name)  # its clients resume at the new address
        # A leader whose address is changed by hand causes an election.
        move_leadership(operator, machine_names(operator, 4)[0])
        moved.readdress(MOVED)
        write_members(operator, machine_names(operator, 1, 4, 5))
        # The cluster was formed with this one host, so clients may know only its previous address.
        operator.apply("--consumers-have", "endpoints")
        load.add(moved.name)
        load.report().assert_clean(restarted=machine_names(operator, 1, 2, 3))
    for machine in map(operator.lab.__getitem__, machine_names(operator, 2, 3)):
        assert_archived(machine)
        machine.reset()
    operator.lab.wait_ssh()
    write_members(operator, machine_names(operator, 2, 3, 6))
    with load_on(operator.lab, operator, machine_names(operator, 1, 4, 5)) as load:
        apply_under_load(operator, load, "--consumers-have", "endpoints")
        load.report().assert_clean(restarted=machine_names(operator, 1, 4, 5))
    for machine in map(operator.lab.__getitem__, machine_names(operator, 1, 4, 5)):
        assert_archived(machine)
    assert_returns_after_power_cut(operator, machine_names(operator, 2, 3, 6))


def assert_archived(machine: Machine) -> None:
    """Assert that the member is stopped and not started at boot, and that its data is archived."""
    assert machine.run("systemctl is-active etcd", check=False).stdout.strip() == "inactive"
    assert machine.run("pgrep -x etcd", check=False).stdout == ""
    assert machine.run("ls -d /var/lib/etcd", check=False).returncode != 0
    assert machine.run("ls /var/lib/etcd.aside-*").stdout.split() == ["member"]
    assert machine.run("ls /etc/systemd/system/etcd.service", check=False).returncode != 0


def assert_returns_after_power_cut(operator: Operator, members: Sequence[str]) -> None:
    """Cut the power of all machines at once, and assert that exactly the members start again."""
    operator.lab.each(lambda machine: machine.kill())
    operator.lab.each(lambda machine: machine.start())
    operator.lab.wait_ssh()
    operator.wait_healthy()
    assert operator.ctl("get", "greeting", "--print-value-only").strip() == "hello"
    operator.assert_nothing_to_do()
    running = {each.name for each in operator.lab if each.run("pgrep -x etcd", check=False).stdout}
    assert running == set(members)


# etcdup is killed at its first journal entry of this step on the machine with this number (0: any machine).
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


@pytest.mark.full
def test_swapping_and_growing_resume_after_kills_and_crashes(operator: Operator) -> None:
    """Each apply resumes after the last kill. At every second kill a host crashes too."""
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
    assert report.lost == report.unexpected == ()
    assert report.violation is None
    operator.assert_nothing_to_do()
    assert_returns_after_power_cut(operator, machine_names(operator, 1, 2, 3, 4, 5))


def kill_repeatedly(operator: Operator, kills: Iterable[tuple[str, int]], other: Machine) -> None:
    for index, (step, number) in enumerate(kills):
        crash = other.kill if index % 2 else None
        apply_and_kill(
            operator, step, *machine_names(operator, *([number] if number else [])), before_kill=crash
        )
        if crash:
            other.start()
            other.wait_ssh()
            wait_until_serving(operator, other.name)


def wait_until_serving(operator: Operator, name: str) -> None:
    """Wait until etcd on this machine is ready again."""
    operator.lab[name].run("until systemctl is-active -q etcd; do sleep 0.2; done")
