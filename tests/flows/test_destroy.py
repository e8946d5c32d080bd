"""Destroy a cluster: all data is archived, only keys are deleted, and a second run finishes after a kill."""

from pathlib import Path

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.destroy import archived_paths, plan_destroy
from etcdup.core.spec.model import Spec
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import TOKEN, RecordingReporter, machines_for, planner_of, spec_of, world_of
from tests.support.kill_everywhere import kill_after, kill_points
from tests.support.texts import Texts


async def bring_up(spec: Spec, network: FakeNetwork, folder: Path, token: str = TOKEN) -> None:
    world = world_of(spec, network, folder)
    planner = planner_of(spec, token)
    plan = planner(await observe(world))
    assert isinstance(plan, Plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world, plan, planner, RecordingReporter([]), journal)


async def destroy(spec: Spec, network: FakeNetwork, folder: Path, run: int = 1) -> Plan:
    """Run `etcdup destroy` once, without the terminal. Each run has its own suffix."""

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_destroy(spec, observed, f"aside-{run}")

    world = world_of(spec, network, folder)
    plan = planner(await observe(world))
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)
    return plan


def contents(network: FakeNetwork) -> dict[str, list[bytes]]:
    """Return the content of every file on each machine, except private keys and files in /run."""
    return {
        name: sorted(
            node.content
            for path, node in machine.nodes.items()
            if node.content is not None and not path.startswith("/run") and not path.endswith("-key.pem")
        )
        for name, machine in network.machines.items()
    }


def assert_gone(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        assert machine.process is None
        assert not machine.enabled
        assert not machine.is_dir("/var/lib/etcd")
        assert machine.file("/etc/etcd/etcdup.json") is None
        assert machine.file("/etc/systemd/system/etcd.service") is None
        assert not [path for path in machine.nodes if path.endswith("-key.pem")]


async def test_everything_but_the_keys_is_archived(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    before = contents(network)
    plan = await destroy(spec, network, tmp_path)
    assert [step.kind for step in plan.steps] == ["RetireMember"] * 3
    assert_gone(network)
    assert contents(network) == before
    assert network.machines["infra1"].file("/var/lib/etcd.aside-1/member/wal/0.wal") is not None
    assert network.machines["infra1"].file("/etc/etcd.aside-1/etcd.conf") is not None


async def test_a_second_destroy_finds_nothing_to_do(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    await destroy(spec, network, tmp_path)
    assert (await destroy(spec, network, tmp_path, run=2)).steps == ()


async def test_the_archived_paths_exist(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    seen = await observe(world_of(spec, network, tmp_path))
    plan = await destroy(spec, network, tmp_path)
    (step,) = plan.steps
    assert isinstance(step, RetireMember)
    for path in archived_paths(spec, step, seen):
        assert network.machines["infra1"].is_dir(path), path


@pytest.mark.quick
async def test_a_kill_after_any_command_is_finished_by_the_next_destroy(tmp_path: Path) -> None:
    spec = spec_of(3)
    whole = machines_for(spec)
    await bring_up(spec, whole, tmp_path)
    whole.restart_etcdup()
    await destroy(spec, whole, tmp_path)
    total = len(whole.commands)
    assert total >= 3 * 8
    for cut in kill_points(total + 1):
        network = machines_for(spec)
        folder = tmp_path / str(cut)
        folder.mkdir()
        await bring_up(spec, network, folder)
        before = contents(network)
        network.restart_etcdup()
        await kill_after(cut, network, destroy(spec, network, folder))
        await destroy(spec, network, folder, run=2)
        assert_gone(network)
        assert contents(network) == before, cut


async def test_a_new_cluster_can_be_formed_on_the_same_hosts(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    await destroy(spec, network, tmp_path)
    await bring_up(spec, network, tmp_path, token="prod-another")
    assert network.machines["infra1"].process is not None


async def test_hosts_of_another_cluster_are_not_changed_and_noted(tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    network.machines["infra1"].put("/var/lib/etcd/member/wal/0.wal", b"data of another cluster")
    other = spec_of(3, name="other")
    theirs = machines_for(other)
    (tmp_path / "other").mkdir()
    await bring_up(other, theirs, tmp_path / "other")
    network.machines["infra2"].nodes = theirs.machines["infra2"].nodes
    before = contents(network)
    plan = await destroy(spec, network, tmp_path)
    assert plan.steps == ()
    assert plan.notes == (
        "infra1 is not changed: the etcd or the data on it was not created by etcdup",
        "infra2 is not changed: it belongs to cluster other as member infra2",
    )
    assert contents(network) == before


async def test_unreachable_hosts_are_noted_and_the_others_destroyed(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of(3)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    network.machines["infra3"].reachable = False
    plan = await destroy(spec, network, tmp_path)
    assert len(plan.steps) == 2
    texts(plan.notes)
    assert network.machines["infra3"].process is not None


async def test_a_changed_data_dir_is_refused(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    moved = spec_of(1, more="etcd: {data_dir: /srv/etcd}\n")
    answer = plan_destroy(moved, await observe(world_of(moved, network, tmp_path)), "aside-1")
    assert isinstance(answer, Refusal)
    assert [reason.message for reason in answer.reasons] == [
        "the data of infra1 is in /var/lib/etcd, and cluster.yaml names /srv/etcd"
    ]
