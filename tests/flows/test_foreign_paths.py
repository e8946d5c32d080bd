"""Links, file systems and programs of the operator on a host: refused in the plan, or left as they are."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.testing.machine import Node
from etcdup.testing.network import FakeNetwork
from tests.flows.test_destroy import destroy
from tests.support.fake_world import bring_up, machines_for, make_plan, spec_of
from tests.support.kill_everywhere import kill_after, kill_points
from tests.support.texts import Texts

WRAPPER = Node(content=b"#!/bin/sh\nexec docker exec etcd etcdctl\n")


@pytest.mark.parametrize(
    "fault",
    [
        "read-only /opt/etcd /",
        "noexec /opt/etcd /",
        "read-only /etc/etcd /etc",
    ],
)
async def test_a_file_system_that_etcd_cannot_use_is_refused(
    texts: Texts, tmp_path: Path, fault: str
) -> None:
    network = machines_for(spec_of())
    network.machines["infra2"].path_faults = [fault]
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra2"]
    texts(refusal.reasons[0])
    assert network.commands == []


@pytest.mark.parametrize("detail", ["/etc/etcd", "/etc"])
async def test_a_directory_that_is_immutable_is_refused(texts: Texts, tmp_path: Path, detail: str) -> None:
    network = machines_for(spec_of())
    network.machines["infra2"].path_faults = [f"unwritable /etc/etcd {detail}"]
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra2"]
    texts(refusal.reasons[0])
    assert network.commands == []


@pytest.mark.parametrize(
    ("more", "path"), [("", "/var/lib/etcd"), ("etcd: {wal_dir: /srv/log/wal}\n", "/srv/log/wal")]
)
async def test_a_directory_that_is_a_link_is_refused(
    texts: Texts, tmp_path: Path, more: str, path: str
) -> None:
    spec = spec_of(3, more)
    network = machines_for(spec)
    network.machines["infra2"].nodes[path] = Node(link="/data/etcd")
    refusal = await make_plan(spec, network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra2"]
    texts(refusal.reasons[0])
    assert network.commands == []


async def test_programs_that_etcdup_did_not_make_stay_and_are_named(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of()
    network = machines_for(spec)
    machine = network.machines["infra1"]
    machine.nodes["/usr/local/bin/etcdctl"] = WRAPPER
    machine.nodes["/usr/local/bin/etcd"] = Node(link="/usr/bin/etcd")
    plan = await make_plan(spec, network, tmp_path)
    assert isinstance(plan, Plan)
    texts(plan.notes)
    await bring_up(spec, network, tmp_path)
    assert machine.nodes["/usr/local/bin/etcdctl"] == WRAPPER
    assert machine.nodes["/usr/local/bin/etcd"].link == "/usr/bin/etcd"
    assert machine.nodes["/usr/local/bin/etcdutl"].link == "/opt/etcd/current/etcdutl"


async def test_a_unit_that_etcdup_did_not_write_is_not_replaced(tmp_path: Path) -> None:
    network = machines_for(spec_of())
    unit = Node(content=b"[Service]\nExecStart=/usr/bin/etcd\n")
    network.machines["infra3"].nodes["/etc/systemd/system/etcd.service"] = unit
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra3"]
    assert network.commands == []


async def test_destroy_removes_the_links_of_etcdup_only(tmp_path: Path) -> None:
    spec = spec_of(1)
    (tmp_path / "whole").mkdir()
    whole = await _with_a_wrapper(tmp_path / "whole")
    await destroy(spec, whole, tmp_path / "whole")
    total = len(whole.commands)
    for cut in kill_points(total):
        folder = tmp_path / str(cut)
        folder.mkdir()
        network = await _with_a_wrapper(folder)
        await kill_after(cut, network, destroy(spec, network, folder))
        await destroy(spec, network, folder, run=2)
        nodes = network.machines["infra1"].nodes
        left = {path for path in nodes if path.startswith("/usr/local/bin/")}
        assert left == {"/usr/local/bin/etcdctl"}, cut


async def _with_a_wrapper(folder: Path) -> FakeNetwork:
    """Return a cluster of one member on a host with a wrapper of the operator."""
    network = machines_for(spec_of(1))
    network.machines["infra1"].nodes["/usr/local/bin/etcdctl"] = WRAPPER
    await bring_up(spec_of(1), network, folder)
    network.commands.clear()
    return network
