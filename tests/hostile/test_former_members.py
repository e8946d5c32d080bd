"""A person has the disk of a member that left: its certificates and keys, as they were before it left."""

from pathlib import Path

from etcdup.testing.crl import why_rejected
from tests.flows.test_replace_member import LOSSES, bring_up_and_lose, replace
from tests.support.fake_world import add_machines, bring_up, running_network, spec_of

FILES = {"server": "crl", "health": "crl", "peer": "peer-crl"}


async def test_the_keys_of_a_former_member_open_no_connection(tmp_path: Path) -> None:
    network, after = await running_network(spec_of(), tmp_path), spec_of((1, 3, 4))
    disk = {
        kind: network.machines["infra2"].nodes[f"/etc/etcd/pki/{kind}.pem"].content or b"" for kind in FILES
    }
    add_machines(network, after)
    network.restart_etcdup()
    await bring_up(after, network, tmp_path)
    members = [machine for machine in network.machines.values() if machine.process]
    assert len(members) == 3
    for machine in members:
        for kind, crl in FILES.items():
            assert why_rejected(machine, crl, disk[kind]) == "certificate serial revoked"


async def test_the_keys_of_a_replaced_member_open_no_connection(tmp_path: Path) -> None:
    network = await bring_up_and_lose(tmp_path, LOSSES["a healthy member"])
    nodes = network.machines["infra2"].nodes
    disk = {kind: nodes[f"/etc/etcd/pki/{kind}.pem"].content or b"" for kind in FILES}
    await replace(LOSSES["a healthy member"], network, tmp_path)
    for machine in network.machines.values():
        for kind, crl in FILES.items():
            assert why_rejected(machine, crl, disk[kind]) == "certificate serial revoked"
