"""`restore --undo` on fakes: of a complete restore, of an interrupted one, and with a kill after every command."""

from pathlib import Path

import pytest

from etcdup.core.host.startup_fence import FENCE_PREFIX
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import EnableFence
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.core.spec.model import Spec
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from etcdup.testing.systemd import VOUCHED
from tests.flows.test_destroy import contents
from tests.flows.test_restore import cluster_of, cut_power, old_logs, restore, snapshot_in
from tests.support.fake_world import RecordingReporter, make_plan, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_points, prepare_start


async def undo_restore(spec: Spec, network: FakeNetwork, folder: Path, run: int = 7) -> Plan:
    """Run `etcdup restore --undo`, without the terminal."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    resumed = can_undo(spec, observed)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo(spec, observed, f"aside-{run}", resumed=resumed)

    plan = planner(observed)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world, plan, planner, RecordingReporter([]), journal)
    return plan


async def prepare_old_cluster(size: int, folder: Path) -> tuple[Spec, Start]:
    spec = spec_of(size)
    start = await prepare_start(spec, spec, folder)
    client = await world_of(spec, start.network, start.folder).etcd("infra1")
    await client.put(b"/old", b"1", timeout_s=1)
    start.network.commands.clear()
    return spec, start


async def assert_old(spec: Spec, start: Start, network: FakeNetwork, folder: Path) -> None:
    """Assert that the old cluster runs on its own data in its data directory, and apply has nothing to do."""
    await apply_and_check(spec, network, folder)
    cluster = cluster_of(network)
    assert cluster.keys[b"/old"] == b"1"
    assert not any(key.startswith(FENCE_PREFIX.encode()) for key in cluster.keys), "it would fence itself"
    assert old_logs(Start(network, folder)) == old_logs(start)


async def test_a_complete_restore_is_undone(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    await restore(spec, network, folder, snapshot_in(folder))
    logs = old_logs(Start(network, folder))
    plan = await undo_restore(spec, network, folder)
    assert [step.kind for step in plan.steps] == [
        *["MarkUndo"] * 3,
        "StopMembers",
        *["UndoData"] * 3,
        *["InstallFiles"] * 3,
        "StartRestored",
    ]
    await assert_old(spec, start, network, folder)
    for name, log in logs.items():
        kept = network.machines[name].file("/var/lib/etcd.aside-7/member/wal/0.wal")
        assert kept is not None
        assert kept.content == log
    cut_power(network)
    assert all(machine.process for machine in network.machines.values())
    # The cluster may be restored again, and its revisions are then above those of the first restore.
    await restore(spec, network, folder, snapshot_in(folder), run=2)
    bumps = {a[a.index("--bump-revision") + 1] for _, a in network.commands if "--bump-revision" in a}
    assert bumps == {"1000000000", "2000000000"}


async def test_a_staged_restore_is_undone_without_stopping_a_member(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    network.cut_after = 17
    with pytest.raises(Killed):
        await restore(spec, network, folder, snapshot_in(folder))
    network.restart_etcdup()
    assert isinstance(await make_plan(spec, network, folder), Refusal)
    plan = await undo_restore(spec, network, folder)
    assert {step.kind for step in plan.steps} == {"ForgetRestore"}
    await assert_old(spec, start, network, folder)


@pytest.mark.parametrize("size", [1, 3])
async def test_a_restore_can_be_undone_after_a_kill_at_any_command(tmp_path: Path, size: int) -> None:
    spec, start = await prepare_old_cluster(size, tmp_path)
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder))
    # At every second cut all hosts lose their power, so that every enabled unit starts by itself.
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises(Killed):
            await restore(spec, network, folder, snapshot_in(folder))
        network.restart_etcdup()
        for name in network.machines if cut % 2 else ():
            network.reboot(name)
        if can_undo(spec, await observe(world_of(spec, network, folder))):
            await undo_restore(spec, network, folder)
        await assert_old(spec, start, network, folder)


@pytest.mark.quick
async def test_after_a_kill_at_any_command_the_same_undo_resumes(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    new = old_logs(start)
    start.network.commands.clear()
    whole, folder = start.copy_to("whole")
    await undo_restore(spec, whole, folder)
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises(Killed):
            await undo_restore(spec, network, folder)
        network.restart_etcdup()
        await undo_restore(spec, network, folder, run=8)
        assert all(machine.process for machine in network.machines.values()), cut
        assert not any(machine.file(VOUCHED) for machine in network.machines.values()), cut
        await assert_old(spec, Start(whole, folder), network, folder)
        for name, log in new.items():
            assert log in contents(network)[name], (cut, name)


async def test_an_apply_enables_the_fence_that_a_killed_undo_left_disabled(tmp_path: Path) -> None:
    """The operator may run another command than before: apply finishes the start, and no fence stays disabled."""
    spec, start = await prepare_old_cluster(3, tmp_path)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    whole, folder = start.copy_to("whole")
    await undo_restore(spec, whole, folder)
    disabled = 0
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises(Killed):
            await undo_restore(spec, network, folder)
        network.restart_etcdup()
        plan = await make_plan(spec, network, folder)
        if isinstance(plan, Refusal):
            continue
        left = {name for name, machine in network.machines.items() if machine.file(VOUCHED)}
        disabled += len(left)
        assert {step.host for step in plan.steps if isinstance(step, EnableFence)} == left
        await assert_old(spec, Start(whole, folder), network, folder)
        assert not any(machine.file(VOUCHED) for machine in network.machines.values()), cut
    assert disabled


async def test_an_undo_starts_only_hosts_that_were_undone_together(tmp_path: Path) -> None:
    """If all hosts were undone, a stopped member means that the start was interrupted."""
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    await restore(spec, network, folder, snapshot_in(folder))
    await undo_restore(spec, network, folder)
    network.machines["infra2"].process = None
    assert can_undo(spec, await observe(world_of(spec, network, folder)))
    marker = network.machines["infra3"].file("/etc/etcd/etcdup.json")
    assert marker is not None
    marker.content = (marker.content or b"").replace(b'"undone"', b'"joined"')
    assert not can_undo(spec, await observe(world_of(spec, network, folder)))


async def test_without_a_restore_there_is_nothing_to_undo(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    answer = plan_undo(spec, await observe(world_of(spec, network, folder)), "aside-7")
    assert isinstance(answer, Refusal)
    assert "nothing to undo" in answer.reasons[0].message
