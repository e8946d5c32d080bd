"""A firewall that came after the members had their connections: no verb stops a member that it would keep away."""

import pytest

from tests.lab.machine import Machine
from tests.lab.operator import Operator, output_of
from tests.lab.test_bootstrap import path_install
from tests.lab.test_take_over import LAYOUTS, adopt, processes

VERSION = "3.6.14"
VERBS = (
    ("restart", "infra2", "--yes"),
    ("restart", "infra2", "--drain", "--yes"),
    ("maintain", "defrag", "infra2", "--offline", "--all", "--yes"),
)


def block_new_connections(operator: Operator, machine: Machine) -> None:
    """Block new connections between this machine and all others, in both directions. Open ones stay."""
    others = [each for each in operator.lab.machines if each is not machine]
    machine.deny(*others)
    for other in others:
        other.deny(machine)


def started(operator: Operator) -> list[str]:
    """Return the processes of etcd on all machines, with their start times."""
    return [machine.run("ps -o pid=,lstart= -p $(pidof etcd)").stdout for machine in operator.lab.machines]


def assert_refused(operator: Operator, *verb: str) -> None:
    before = started(operator)
    done = operator.run(*verb)
    print(output_of(done))
    assert done.returncode != 0
    assert "dport '{ 2380 }'" in done.stderr, "the ports are the reason"
    assert started(operator) == before


def test_a_member_that_could_not_connect_again_is_not_stopped(operator: Operator) -> None:
    operator.write(install=path_install(VERSION))
    operator.apply()
    block_new_connections(operator, operator.lab["infra2"])
    operator.wait_healthy()  # by the connections from before
    for verb in VERBS:
        assert_refused(operator, *verb)
    operator.lab.each(Machine.reconnect)
    for verb in VERBS:
        done = operator.run(*verb)
        assert done.returncode == 0, output_of(done)
        operator.apply()


@pytest.mark.full
def test_a_member_of_another_tool_that_could_not_connect_again_is_not_stopped(operator: Operator) -> None:
    adopt(operator, *next(iter(LAYOUTS.values())))
    machine = operator.lab["infra2"]
    before = processes(machine)
    block_new_connections(operator, machine)
    assert_refused(operator, "adopt", "--take-over", "infra2", "--yes")
    operator.lab.each(Machine.reconnect)
    done = operator.run("adopt", "--take-over", "infra2", "--yes")
    assert done.returncode == 0, output_of(done)
    assert processes(machine) != before
