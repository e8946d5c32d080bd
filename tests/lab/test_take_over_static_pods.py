"""`etcdup adopt --take-over --static-pods` of members that a real kubelet runs, as kubeadm sets up an external etcd."""

import time
from collections.abc import Sequence

import pytest

from tests.lab.load import load_on
from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.lab.static_pods import make_static_pods, manifests_of
from tests.lab.test_adopt import VERSION, log_in_by_ssh_config
from tests.lab.test_take_over import NEW, NEWER, OLD, cut_at_each_line, member_ids, processes, run, upgrade
from tests.lab.test_take_over_containers import assert_explained
from tests.support.etcd_binaries import why_not as why_no_etcd
from tests.support.kubernetes_binaries import why_not_built

pytestmark = [
    pytest.mark.skipif(bool(why_no_etcd(VERSION)), reason=f"no etcd {VERSION}"),
    pytest.mark.skipif(bool(why_not_built("kubelet")), reason=why_not_built("kubelet") or ""),
]

SWITCH = ("adopt", "--take-over", "--static-pods", "--yes")


def adopt_static_pods(operator: Operator) -> None:
    make_static_pods(operator, VERSION)
    log_in_by_ssh_config(operator)
    addresses = [each.address for each in operator.lab.machines]
    run(operator, "adopt", *addresses, "--user", "root", "--name", "prod", "--with-ca-key", "--yes")


def manifests(machine: Machine) -> str:
    return machine.run(f"ls {manifests_of(machine)}").stdout


@pytest.mark.alone
@pytest.mark.in_turn(0, 4)
def test_static_pods_are_taken_over_under_load(container_operator: Operator) -> None:
    operator = container_operator
    adopt_static_pods(operator)
    machines = operator.lab.machines
    ids = member_ids(operator)
    run(operator, "adopt", "--take-over", "--yes", code=4)
    assert [processes(each) for each in machines] == [[OLD]] * 3
    switches: list[tuple[str, int, int]] = []

    def switch(machine: Machine, *words: str) -> None:
        began = time.monotonic_ns()
        run(operator, *words, machine.name)
        switches.append((machine.name, began, time.monotonic_ns()))

    with load_on(operator.lab, operator) as clients:
        switch(machines[2], *SWITCH)
        assert processes(machines[2]) == [NEW]
        assert manifests(machines[2]) == ""
        run(operator, "plan", "--exit-code")
        switch(machines[2], "adopt", "--give-back", "--yes")
        assert processes(machines[2]) == [OLD]
        assert manifests(machines[2]) == "etcd.yaml\n"
        for machine in machines:
            switch(machine, *SWITCH)
        report = clients.report()
    assert_explained(report, switches)
    assert [processes(each) for each in machines] == [[NEW]] * 3
    assert [manifests(each) for each in machines] == [""] * 3
    assert member_ids(operator) == ids
    operator.assert_no_step()
    operate_without_the_kubelet(operator, machines)


def operate_without_the_kubelet(operator: Operator, machines: Sequence[Machine]) -> None:
    """Disable the kubelets, as the note of the plan says, and upgrade the members."""
    for machine in machines:
        machine.run("systemctl disable --now -q kubelet")
    upgrade(operator, NEWER)


@pytest.mark.full
def test_a_stopped_kubelet_ends_with_the_old_member(container_operator: Operator) -> None:
    """Its pod continues to run without it. So the script moves the manifest back when it has waited long enough."""
    operator = container_operator
    adopt_static_pods(operator)
    machine = operator.lab["infra1"]
    (before,) = machine.run("pidof etcd").stdout.split()
    machine.run("systemctl stop kubelet")
    run(operator, *SWITCH, machine.name, code=4)
    assert manifests(machine) == "etcd.yaml\n"
    machine.run("systemctl start kubelet")
    run(operator, *SWITCH, machine.name)
    machine.run("systemctl disable --now -q kubelet")
    run(operator, "adopt", "--give-back", machine.name, "--yes")
    assert machine.run("systemctl is-active kubelet").stdout == "active\n"
    assert processes(machine) == [OLD]
    assert before != machine.run("pidof etcd").stdout.strip()


@pytest.mark.full
@pytest.mark.parametrize("how", ["reboot", "kill"])
def test_a_cut_at_each_line_ends_with_one_member(container_operator: Operator, how: str) -> None:
    adopt_static_pods(container_operator)
    machine = container_operator.lab["infra1"]
    cut_at_each_line(container_operator, machine, how, "pidof etcd", ("--static-pods",))
