"""After a take-over, members of other tools are replaced and upgraded as all others."""

import re

import pytest

from etcdup.core.spec.load import load
from tests.lab.machine import Machine
from tests.lab.operator import Operator
from tests.lab.test_adopt import VERSION, make_by_hand
from tests.lab.test_bootstrap import path_install
from tests.lab.test_take_over import NEWER, adopt, member_ids, run
from tests.support.etcd_binaries import why_not
from tests.support.etcd_certs import Authority
from tests.support.texts import Texts

PACKAGED = "3.4.23"
pytestmark = [
    pytest.mark.skipif(bool(why_not(version)), reason=f"no etcd {version}: {why_not(version)}")
    for version in (VERSION, NEWER)
]
DEFAULTS = """\
ETCD_LISTEN_PEER_URLS=https://{address}:2380
ETCD_LISTEN_CLIENT_URLS=https://{address}:2379,https://127.0.0.1:2379
ETCD_INITIAL_ADVERTISE_PEER_URLS=https://{address}:2380
ETCD_ADVERTISE_CLIENT_URLS=https://{address}:2379
ETCD_INITIAL_CLUSTER={cluster}
ETCD_TRUSTED_CA_FILE=/etc/etcd-certs/ca.pem
ETCD_CERT_FILE=/etc/etcd-certs/server.pem
ETCD_KEY_FILE=/etc/etcd-certs/server-key.pem
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=/etc/etcd-certs/ca.pem
ETCD_PEER_CERT_FILE=/etc/etcd-certs/server.pem
ETCD_PEER_KEY_FILE=/etc/etcd-certs/server-key.pem
ETCD_PEER_CLIENT_CERT_AUTH=true
"""
SUMS = "cd /opt/etcd/{} && sha256sum etcd etcdctl"


def make_from_packages(operator: Operator) -> Authority:
    """Install the packages of Debian, and start a cluster with the settings in /etc/default/etcd."""
    operator.lab.serve_packages()
    machines = operator.lab.machines
    authority = Authority("etcd-ca", days=3650)
    cluster = ",".join(f"{each.name}=https://{each.address}:2380" for each in machines)
    for machine in machines:
        machine.run("apt-get -qq update && apt-get -qq install -y etcd-server etcd-client", timeout_s=180)
        machine.run("systemctl stop etcd; rm -rf /var/lib/etcd/default; mkdir -p /etc/etcd-certs")
        pair = authority.issue(machine.name, [machine.address, "127.0.0.1"], days=90)
        machine.write("/etc/etcd-certs/ca.pem", authority.pem.decode())
        machine.write("/etc/etcd-certs/ca-key.pem", authority.key_pem.decode(), "600")
        machine.write("/etc/etcd-certs/server.pem", pair.cert.decode())
        machine.write("/etc/etcd-certs/server-key.pem", pair.key.decode(), "600")
        machine.run("chown etcd /etc/etcd-certs/*-key.pem")
        machine.write("/etc/default/etcd", DEFAULTS.format(address=machine.address, cluster=cluster))
    for machine in machines:
        machine.run("systemctl start --no-block etcd")
    for machine in machines:
        machine.run("until systemctl is-active -q etcd; do sleep 0.2; done")
    return authority


def replace_lost(operator: Operator, machine: Machine) -> None:
    """Replace the member of a machine that lost its disk."""
    before = member_ids(operator)
    machine.reset()
    operator.lab.wait_ssh()
    run(operator, "member", "replace", machine.name, "--yes")
    after = member_ids(operator)
    assert [name for name in before if before[name] != after[name]] == [machine.name]


def upgrade(operator: Operator, version: str) -> None:
    text = operator.file.read_text()
    text = re.sub(r"\ninstall:(.*\n)(  .*\n)*", "\n", text)
    newer = re.sub(r"^version: \S+", f"version: {version}", text, flags=re.MULTILINE)
    operator.file.write_text(f"{newer}\ninstall: {{{path_install(version)}}}\n")
    run(operator, "apply", "--yes")
    assert {each["version"] for each in operator.status()["members"]} == {version}
    operator.assert_no_step()


@pytest.mark.in_turn(1, 4)
def test_a_cluster_of_the_guide_is_repaired_and_upgraded(operator: Operator) -> None:
    adopt(operator, make_by_hand, ())
    run(operator, "adopt", "--take-over", "--yes")
    operator.file.write_text(f"{operator.file.read_text()}\ninstall: {{{path_install(VERSION)}}}\n")
    replace_lost(operator, operator.lab.machines[-1])
    upgrade(operator, NEWER)


@pytest.mark.in_turn(3, 4)
def test_a_cluster_of_packages_is_repaired_grown_and_upgraded(operator: Operator, texts: Texts) -> None:
    """Hosts without the package get the programs of the other hosts, before and after the take-over."""
    adopt(operator, make_from_packages, ("--with-ca-key",))
    assert load(operator.file.read_text()).install.source == "host"
    lost = operator.lab.machines[-1]
    replace_lost(operator, lost)
    run(operator, "adopt", "--take-over", "--yes")
    operator.assert_no_step()
    added = [operator.lab.add_machine(), operator.lab.add_machine()]
    operator.lab.wait_ssh()
    hosts = "".join(f"  - {{name: {each.name}, address: {each.address}}}\n" for each in added)
    text = operator.file.read_text()
    operator.file.write_text(text.replace("\n\nssh:", f"\n{hosts}\nssh:", 1))
    run(operator, "apply", "--yes")
    operator.assert_no_step()
    sums = {machine.run(SUMS.format(PACKAGED)).stdout for machine in operator.lab}
    assert len(sums) == 1, sums
    for machine in (lost, *added):
        assert machine.run("dpkg -s etcd-server", check=False).returncode != 0
    operator.file.write_text(
        re.sub(r"^version: \S+", f"version: {VERSION}", operator.file.read_text(), flags=re.M)
    )
    texts(operator.run("apply", "--yes"))
    upgrade(operator, VERSION)
