"""Edits of cluster.yaml that a cluster cannot follow: the refusal names the line to write back, and nothing changes."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from tests.support.fake_world import machines_for, make_plan, running_network, spec_of
from tests.support.texts import Texts

MOVED_DATA = "etcd: {data_dir: /data/etcd}\n"
MOVED_WAL = "etcd: {wal_dir: /wal/etcd}\n"
OTHER_WAL = "etcd: {wal_dir: /log/etcd}\n"


def named(*names: str, cluster: str = "prod") -> Spec:
    hosts = (f"  - {{name: {name}, address: 192.168.8.{66 + at}}}\n" for at, name in enumerate(names))
    return load(f"name: {cluster}\nversion: 3.6.14\nhosts:\n{''.join(hosts)}")


@pytest.mark.parametrize(
    ("before", "edited"),
    [
        (spec_of(), named("infra1", "infra2", "node3")),
        (spec_of(), named("a", "b", "c")),
        (spec_of(), named("infra1", "infra2", "infra3", cluster="other")),
        (spec_of(), spec_of(3, MOVED_DATA)),
        (spec_of(3, MOVED_DATA), spec_of()),
        (spec_of(), spec_of(3, MOVED_WAL)),
        (spec_of(3, MOVED_WAL), spec_of()),
        (spec_of(3, MOVED_WAL), spec_of(3, OTHER_WAL)),
    ],
)
async def test_the_hint_has_the_line_to_write_back(
    texts: Texts, tmp_path: Path, before: Spec, edited: Spec
) -> None:
    network = await running_network(before, tmp_path)
    files = {name: dict(machine.nodes) for name, machine in network.machines.items()}
    answer = await make_plan(edited, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)
    assert network.commands == []
    assert {name: machine.nodes for name, machine in network.machines.items()} == files
    written_back = await make_plan(before, network, tmp_path)
    assert isinstance(written_back, Plan)
    assert written_back.is_empty


async def test_hosts_with_each_other_s_names(tmp_path: Path) -> None:
    """The fakes find a machine by its name, so the machines are swapped, not the addresses in cluster.yaml."""
    network = await running_network(spec_of(), tmp_path)
    machines = network.machines
    machines["infra2"], machines["infra3"] = machines["infra3"], machines["infra2"]
    answer = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(answer, Refusal)
    assert [reason.hint for reason in answer.reasons] == [
        "in cluster.yaml, write `address: 192.168.8.67` back for infra3",
        "in cluster.yaml, write `address: 192.168.8.68` back for infra2",
    ]


async def test_a_stopped_member_gets_the_same_hint(tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    network.machines["infra2"].end_etcd(0)
    answer = await make_plan(spec_of(3, MOVED_DATA), network, tmp_path)
    assert isinstance(answer, Refusal)
    assert {reason.hint for reason in answer.reasons} == {
        "in cluster.yaml, write `data_dir: /var/lib/etcd` back"
    }


async def test_data_that_the_operator_moved_is_found(texts: Texts, tmp_path: Path) -> None:
    """The operator stopped a member and moved its data. The plan is not refused for the previous directory."""
    network = await running_network(spec_of(), tmp_path)
    for machine in network.machines.values():
        moved = {path: node for path, node in machine.nodes.items() if path.startswith("/var/lib/etcd")}
        for path, node in moved.items():
            machine.nodes[path.replace("/var/lib/etcd", "/data/etcd", 1)] = node
    answer = await make_plan(spec_of(3, MOVED_DATA), network, tmp_path)
    texts(answer.reasons if isinstance(answer, Refusal) else ())


async def test_a_host_of_another_cluster_with_another_member_keeps_its_hint(
    texts: Texts, tmp_path: Path
) -> None:
    network = await running_network(spec_of(), tmp_path)
    edited = named("infra1", "infra2", "node3", cluster="other")
    answer = await make_plan(edited, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_a_missing_pki_is_named(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(), tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = await make_plan(spec_of(), network, elsewhere)
    assert isinstance(answer, Refusal)
    texts(answer)
    assert not (elsewhere / "pki").exists()


async def test_managed_in_place_of_provided_certificates(texts: Texts, tmp_path: Path) -> None:
    """A host without the record of etcdup's own certificates may have provided ones."""
    network = await running_network(spec_of(), tmp_path)
    for machine in network.machines.values():
        for path in [path for path in machine.nodes if path.endswith("generation.json")]:
            del machine.nodes[path]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = await make_plan(spec_of(), network, elsewhere)
    assert isinstance(answer, Refusal)
    texts(answer)


def test_machines_are_found_by_address() -> None:
    """Otherwise the tests above would edit the name of a machine that does not exist."""
    network = machines_for(spec_of())
    assert network.machine_of(named("infra1", "infra2", "node3").host("node3")) is not None
