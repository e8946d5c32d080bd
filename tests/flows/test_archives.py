"""`archive delete` on fake machines: it deletes what the operator chose and nothing else, after a kill too."""

from collections.abc import Collection
from pathlib import Path

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import DeleteArchives
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.archives import is_for_undo, plan_delete_archives
from etcdup.core.planner.guards import refuse_step
from etcdup.core.spec.model import Spec
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.world.archives import read_archives
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_restore import placed, restore, snapshot_in
from tests.flows.test_undo_restore import kill_when, prepare_old_cluster, undo_restore
from tests.support.fake_world import RecordingReporter, running_network, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points

OLD = {
    "infra1": ("/var/lib/etcd.aside-20260101T000000Z", "/var/lib/etcd.cold-prod-0123"),
    "infra2": ("/etc/etcd.aside-20260101T000000Z", "/var/lib/etcd.aside-20260101T000000Z"),
}
OTHER = ("/var/lib/etcd.aside", "/var/lib/etcd.backup", "/var/lib/other.aside-1", "/var/lib/etcd.aside-mine")


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return a healthy cluster with old data on two of its hosts."""
    (tmp_path / "operator").mkdir()
    found = await running_network(spec_of(), tmp_path / "operator")
    for name, paths in OLD.items():
        for path in (*paths, *OTHER):
            found.machines[name].make_dir(path)
            found.machines[name].put(f"{path}/db", b"data", 0o600, "etcd:etcd")
    found.restart_etcdup()
    return found


def all_of(observed: Observed) -> set[tuple[str, str]]:
    return {(name, path) for name, seen in observed.reachable().items() for path in seen.archives}


async def delete(
    spec: Spec, network: FakeNetwork, folder: Path, chosen: Collection[tuple[str, str]] | None = None
) -> None:
    """Run `etcdup archive delete`, without the terminal. All archives are chosen by default."""
    world = world_of(spec, network, folder)
    first = await observe(world)
    wanted = all_of(first) if chosen is None else chosen

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_delete_archives(spec, observed, wanted, with_undo=False)

    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)


async def test_archives_are_found_with_their_size(network: FakeNetwork, tmp_path: Path) -> None:
    world = world_of(spec_of(), network, tmp_path / "operator")
    found = await read_archives(world, await observe(world))
    assert {(each.host, each.path) for each in found.archives} == {
        (name, path) for name, paths in OLD.items() for path in paths
    }
    assert found.failed == {}


async def test_only_the_chosen_archives_are_deleted(network: FakeNetwork, tmp_path: Path) -> None:
    folder, (first, second) = tmp_path / "operator", OLD["infra1"]
    await delete(spec_of(), network, folder, {("infra1", first)})
    assert not network.machines["infra1"].is_dir(first)
    assert network.machines["infra1"].is_dir(second)
    await delete(spec_of(), network, folder)
    for name, paths in OLD.items():
        machine = network.machines[name]
        assert not [path for path in paths if path in machine.nodes]
        assert all(machine.is_dir(path) for path in OTHER)
    await apply_and_check(spec_of(), network, folder)


async def test_a_deletion_is_finished_after_a_kill_at_any_command(
    network: FakeNetwork, tmp_path: Path
) -> None:
    start = Start(network, tmp_path / "operator")
    with start.copied("whole") as (copy, folder):
        await delete(spec_of(), copy, folder)
        commands = len(copy.commands)
    assert commands >= 4
    for cut in kill_points(commands):
        with start.copied(cut) as (copy, folder):
            await kill_after(cut, copy, delete(spec_of(), copy, folder))
            await delete(spec_of(), copy, folder)
            assert all_of(await observe(world_of(spec_of(), copy, folder))) == set()
            await apply_and_check(spec_of(), copy, folder)


async def test_the_data_that_an_undo_needs_is_kept(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    await restore(spec, network, folder, snapshot_in(folder))
    observed = await observe(world_of(spec, network, folder))
    kept = all_of(observed)
    assert len(kept) == 3
    assert all(is_for_undo(host, path, spec, observed) for host, path in kept)
    await delete(spec, network, folder)
    assert all_of(await observe(world_of(spec, network, folder))) == kept
    await undo_restore(spec, network, folder)
    await delete(spec, network, folder)
    assert all_of(await observe(world_of(spec, network, folder))) == set()
    await apply_and_check(spec, network, folder)


async def test_nothing_is_deleted_during_a_restore(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    kill_when(network, lambda: bool(placed(network)))
    with pytest.raises(Killed):
        await restore(spec, network, folder, snapshot_in(folder))
    network.restart_etcdup()
    assert all_of(await observe(world_of(spec, network, folder)))
    with pytest.raises(RefusedError):
        await delete(spec, network, folder)


async def test_what_is_no_archive_is_refused(network: FakeNetwork, tmp_path: Path) -> None:
    observed = await observe(world_of(spec_of(), network, tmp_path / "operator"))
    for path in (*OTHER, "/var/lib/etcd", "/"):
        step = DeleteArchives(host="infra1", paths=(path,), reason="")
        assert refuse_step(step, spec_of(), observed)
    assert (
        refuse_step(DeleteArchives(host="infra1", paths=OLD["infra1"], reason=""), spec_of(), observed) == ()
    )
