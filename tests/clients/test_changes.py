"""Rolling changes: no client observes a failed write, and Patroni promotes and demotes no node."""

import pytest

from tests.clients.conftest import ETCD_HOSTS, VERSIONS, Client
from tests.lab.machine import Machine
from tests.lab.operator import HEALTHY, Operator, output_of
from tests.lab.test_bootstrap import path_install

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]


def write(operator: Operator, version: str, more: str = "", members: tuple[str, ...] = ETCD_HOSTS) -> None:
    operator.write(version=version, install=path_install(version), members=members, more=more)


def run(operator: Operator, *words: str) -> str:
    """Run a command that must leave a healthy cluster, and return its stderr."""
    done = operator.run(*words)
    print(done.stderr)
    assert done.returncode == 0, output_of(done)
    assert done.stdout.rstrip().endswith(HEALTHY), output_of(done)
    return done.stderr


def leader_of(operator: Operator) -> Machine:
    return operator.lab[operator.status()["leader"]]


def test_a_setting_is_changed(operator: Operator, client: Client, version: str) -> None:
    write(operator, version, "etcd: {quota: 3GiB}\n")
    with client.measure("settings change") as measured:
        operator.apply()
    measured.assert_uninterrupted()


@pytest.mark.parametrize("version", VERSIONS[:1])
def test_a_quiet_cluster_is_upgraded_twice(operator: Operator, client: Client, version: str) -> None:
    """The log is short, so that each member still has entries of 3.5 after its last raft snapshot."""
    for newer in VERSIONS[1:]:
        write(operator, newer)
        with client.measure(f"upgrade to {newer}") as measured:
            operator.apply()
        measured.assert_uninterrupted()
    assert {each["version"] for each in operator.status()["members"]} == {VERSIONS[-1]}


def test_all_certificates_are_renewed(operator: Operator, client: Client) -> None:
    with client.measure("certs renew") as measured:
        run(operator, "certs", "renew", "--days", "4000", "--yes")
    measured.assert_uninterrupted()


def test_the_host_of_the_leader_is_lost_and_replaced(operator: Operator, client: Client) -> None:
    lost = leader_of(operator)
    with client.measure("leader's host is lost") as measured:
        lost.kill()
        operator.lab[next(name for name in ETCD_HOSTS if name != lost.name)].run("sleep 10")
    measured.assert_consistent()
    new = operator.lab.add_machine()
    with client.measure("member replace --address") as measured:
        run(operator, "member", "replace", lost.name, "--address", new.address, "--yes")
    measured.assert_uninterrupted()


def test_all_hosts_are_replaced_by_one_apply(operator: Operator, client: Client, version: str) -> None:
    """Apply stops before clients lose the last endpoint that they know."""
    new = tuple(operator.lab.add_machine().name for _ in ETCD_HOSTS)
    write(operator, version, members=new)
    with client.measure("all hosts replaced, first part") as measured:
        stopped = operator.run("apply", "--yes")
    print(stopped.stderr)
    measured.assert_uninterrupted()
    assert stopped.returncode != 0, output_of(stopped)
    client.update_endpoints()
    with client.measure("all hosts replaced, last part") as measured:
        run(operator, "apply", "--yes", "--consumers-have", "endpoints")
    measured.assert_uninterrupted()
