"""`restore --undo` on fakes: of a complete restore, of an interrupted one, and with a kill after every command."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.host.startup_fence import superseded_key
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import EnableFence
from etcdup.core.recovery.undo_by_restore import (
    is_undone_by_restore,
    needs_snapshot,
    placed_snapshot,
    plan_undo_by_restore,
    refuse_undo_by_restore,
    undo_token,
)
from etcdup.core.restore.attempt import begun_restore, was_restored
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.core.spec.model import Spec
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.restore.undo import find_undo_snapshot, prepare_archive_snapshot
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World
from etcdup.testing.network import FakeNetwork, Killed
from etcdup.testing.systemd import VOUCHED
from tests.flows.test_destroy import contents
from tests.flows.test_restore import cluster_of, cut_power, old_logs, placed, restore, snapshot_in
from tests.support.fake_world import RecordingReporter, aside, make_plan, spec_of, world_of
from tests.support.kill_everywhere import (
    Start,
    apply_and_check,
    kill_after,
    kill_points,
    prepare_start,
    record_when,
)
from tests.support.texts import Texts


async def undo_restore(spec: Spec, network: FakeNetwork, folder: Path, run: int = 7) -> Plan:
    """Run `etcdup restore --undo`, without the terminal."""
    world = world_of(spec, network, folder)
    observed = await observe(world)
    if is_undone_by_restore(spec, observed):
        return await undo_by_restore(world, observed, folder, run)
    resumed = can_undo(spec, observed)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo(spec, observed, aside(run), resumed=resumed)

    return await apply_plan(world, observed, planner, folder)


async def undo_by_restore(world: World, observed: Observed, folder: Path, run: int) -> Plan:
    spec = world.spec
    assert refuse_undo_by_restore(spec, observed) == ()
    path, token = await find_undo_snapshot(world, observed), f"prod-undone-{run}"
    if path is None and needs_snapshot(spec, observed):
        salvage, path = await prepare_archive_snapshot(world, observed)
        await apply_plan(world, observed, salvage, folder, prove=False)
    else:
        token = undo_token(spec, observed, token)
    snapshot = file_of(path) if path else placed_snapshot(spec, observed)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo_by_restore(spec, observed, snapshot, token, aside(run), keep_leases=False)

    return await apply_plan(world, await observe(world), planner, folder)


def file_of(path: Path) -> SnapshotFile:
    content = path.read_bytes()
    return SnapshotFile(str(path), hashlib.sha256(content).hexdigest(), len(content), 3, "3.6.0")


async def apply_plan(
    world: World, observed: Observed, planner: Planner, folder: Path, *, prove: bool = True
) -> Plan:
    plan = planner(observed)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, world.spec.name) as journal:
        run = apply if prove else apply_without_proof
        await run(world, plan, planner, RecordingReporter([]), journal)
    return plan


async def prepare_old_cluster(size: int, folder: Path) -> tuple[Spec, Start]:
    spec = spec_of(size)
    start = await prepare_start(spec, spec, folder)
    client = await world_of(spec, start.network, start.folder).etcd("infra1")
    await client.put(b"/old", b"1", timeout_s=1)
    start.network.commands.clear()
    return spec, start


async def assert_old(spec: Spec, logs: Mapping[str, bytes], network: FakeNetwork, folder: Path) -> None:
    """Assert that a cluster has the old keys, that data with these logs exists, and that apply has nothing to do."""
    await apply_and_check(spec, network, folder)
    cluster = cluster_of(network)
    assert cluster.keys[b"/old"] == b"1"
    assert not any(machine.file(VOUCHED) for machine in network.machines.values())
    token = json.loads(network.machines["infra1"].file("/etc/etcd/etcdup.json").content)["token"]  # type: ignore
    assert superseded_key(token) not in cluster.keys, "it would fence itself"
    for name, log in logs.items():
        assert log in contents(network)[name]


async def test_a_complete_restore_is_undone_with_higher_revisions(texts: Texts, tmp_path: Path) -> None:
    """Revisions that go back would let watches continue without an error, and miss changes."""
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    cluster_of(network).leases[7] = {b"/lock"}
    cluster_of(network).keys[b"/lock"] = b"a claim"
    await restore(spec, network, folder, snapshot_in(folder))
    logs = old_logs(Start(network, folder))
    network.commands.clear()
    plan = await undo_restore(spec, network, folder)
    assert [step.kind for step in plan.steps] == [
        *["StageRestore"] * 3,
        "StopMembers",
        *["PlaceData"] * 3,
        "RevokeLeases",
        *["OpenClients"] * 3,
        "StartRestored",
        "FenceOff",
        *["SealRestore"] * 3,
    ]
    assert {a[a.index("--bump-revision") + 1] for _, a in network.commands if "--bump-revision" in a} == {
        "2000000000"
    }
    assert (cluster_of(network).leases, cluster_of(network).keys.get(b"/lock")) == ({}, None)
    await assert_old(spec, old_logs(start), network, folder)
    for name, log in logs.items():
        assert log in contents(network)[name], "the restored data is archived"
    assert not any(".salvage" in path for machine in network.machines.values() for path in machine.nodes)
    cut_power(network)
    assert all(machine.process for machine in network.machines.values())
    observed = await observe(world_of(spec, network, folder))
    (reason,) = refuse_undo_by_restore(spec, observed)
    texts(reason)
    assert not was_restored(spec, observed, snapshot_in(folder)), "the same backup may be restored again"
    await restore(spec, network, folder, snapshot_in(folder), run=2)
    assert "3000000000" in {argv[-2] for _, argv in network.commands if "--bump-revision" in argv}


async def test_a_restore_that_has_served_is_undone_although_its_members_are_dead(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    await restore(spec, network, folder, snapshot_in(folder))
    for machine in network.machines.values():
        machine.end_etcd(0)
    await undo_restore(spec, network, folder)
    await assert_old(spec, old_logs(start), network, folder)


async def test_other_verbs_are_refused_while_such_an_undo_is_in_progress(
    texts: Texts, tmp_path: Path
) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    network, folder = start.copy_to("one")
    kill_when(network, lambda: any(b"undoes" in text for text in markers(network)))
    with pytest.raises(Killed):
        await undo_restore(spec, network, folder)
    network.restart_etcdup()
    answer = await make_plan(spec, network, folder)
    assert isinstance(answer, Refusal)
    observed = await observe(world_of(spec, network, folder))
    assert begun_restore(spec, observed) == ""
    other = plan_restore(spec, observed, snapshot_in(folder), "prod-restored-9", "aside-9")
    assert isinstance(other, Refusal)
    texts(answer)
    texts(other)


async def test_a_staged_restore_is_undone_without_stopping_a_member(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    await kill_after(17, network, restore(spec, network, folder, snapshot_in(folder)))
    assert isinstance(await make_plan(spec, network, folder), Refusal)
    plan = await undo_restore(spec, network, folder)
    assert {step.kind for step in plan.steps} == {"ForgetRestore"}
    await assert_old(spec, old_logs(start), network, folder)


@pytest.mark.parametrize("size", [1, 3])
async def test_a_restore_can_be_undone_after_a_kill_at_any_command(tmp_path: Path, size: int) -> None:
    spec, start = await prepare_old_cluster(size, tmp_path)
    whole, folder = start.copy_to("whole")
    await restore(spec, whole, folder, snapshot_in(folder))
    # At every second cut all hosts lose their power, so that every enabled unit starts by itself.
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, restore(spec, network, folder, snapshot_in(folder)))
        for name in network.machines if cut % 2 else ():
            network.reboot(name)
        observed = await observe(world_of(spec, network, folder))
        if is_undone_by_restore(spec, observed) or can_undo(spec, observed):
            await undo_restore(spec, network, folder)
        await assert_old(spec, old_logs(start), network, folder)


async def test_a_restore_with_data_in_place_on_some_hosts_is_completed_before_its_undo(
    texts: Texts,
    tmp_path: Path,
) -> None:
    """With its leases kept, members may serve clients as soon as the data is in place."""
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    kill_when(network, lambda: any(b'"open"' in text for text in markers(network)))
    with pytest.raises(Killed):
        await restore(spec, network, folder, snapshot_in(folder), keep_leases=True)
    network.restart_etcdup()
    observed = await observe(world_of(spec, network, folder))
    assert is_undone_by_restore(spec, observed)
    reasons = refuse_undo_by_restore(spec, observed)
    assert len(reasons) == sum(b'"staged"' in text for text in markers(network)) > 0
    texts(reasons)
    await restore(spec, network, folder, snapshot_in(folder), keep_leases=True)
    await undo_restore(spec, network, folder)
    await assert_old(spec, old_logs(start), network, folder)


@pytest.mark.quick
async def test_after_a_kill_at_any_command_the_same_undo_resumes(tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    old = old_logs(start)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    await assert_undo_resumes(spec, start, old)


async def test_an_undo_that_puts_data_back_resumes_too(tmp_path: Path) -> None:
    spec, start, old = await interrupted_restore(tmp_path)
    await assert_undo_resumes(spec, start, old)


async def interrupted_restore(tmp_path: Path) -> tuple[Spec, Start, dict[str, bytes]]:
    """Interrupt a restore when its data is in place on all hosts, and no client was served."""
    spec, start = await prepare_old_cluster(3, tmp_path)
    old, network = old_logs(start), start.network
    kill_when(network, lambda: placed(network))
    with pytest.raises(Killed):
        await restore(spec, network, start.folder, snapshot_in(start.folder))
    network.restart_etcdup()
    return spec, start, old


def kill_when(network: FakeNetwork, condition: Callable[[], bool]) -> None:
    """Kill etcdup at the first command after which the condition is true."""

    def check() -> None:
        if condition():
            network.cut_after = 1

    for number in range(1, 200):
        network.at(number, check)


def markers(network: FakeNetwork) -> list[bytes]:
    files = (machine.file("/etc/etcd/etcdup.json") for machine in network.machines.values())
    return [file.content or b"" for file in files if file]


async def assert_undo_resumes(spec: Spec, start: Start, old: Mapping[str, bytes]) -> None:
    new = old_logs(start)
    whole, folder = start.copy_to("whole")
    await undo_restore(spec, whole, folder)
    assert whole.commands
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, undo_restore(spec, network, folder))
        if cut % 2:
            cut_power(network)
        if cut % 3 == 0:
            shutil.rmtree(folder / "backups", ignore_errors=True)  # another operator resumes
        observed = await observe(world_of(spec, network, folder))
        if is_undone_by_restore(spec, observed):
            is_left = not refuse_undo_by_restore(spec, observed)
        else:
            is_left = can_undo(spec, observed)
        if is_left:
            await undo_restore(spec, network, folder, run=8)
        assert all(machine.process for machine in network.machines.values()), cut
        for logs in (old, new):
            await assert_old(spec, logs, network, folder)


async def test_an_apply_enables_the_fence_that_a_killed_undo_left_disabled(tmp_path: Path) -> None:
    """The operator may run another command than before: apply finishes the start, and no fence stays disabled."""
    spec, start, old = await interrupted_restore(tmp_path)
    whole, folder = start.copy_to("whole")
    vouched = record_when(whole, lambda: any(machine.file(VOUCHED) for machine in whole.machines.values()))
    await undo_restore(spec, whole, folder)
    disabled = 0
    for cut in {*kill_points(len(whole.commands)), vouched[-1]}:
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, undo_restore(spec, network, folder))
        plan = await make_plan(spec, network, folder)
        if isinstance(plan, Refusal):
            continue
        left = {name for name, machine in network.machines.items() if machine.file(VOUCHED)}
        disabled += len(left)
        assert {step.host for step in plan.steps if isinstance(step, EnableFence)} == left
        await assert_old(spec, old, network, folder)
    assert disabled


async def test_an_undo_starts_only_hosts_that_were_undone_together(tmp_path: Path) -> None:
    """If all hosts were undone, a stopped member means that the start was interrupted."""
    spec, start, _ = await interrupted_restore(tmp_path)
    network, folder = start.copy_to("one")
    await undo_restore(spec, network, folder)
    network.machines["infra2"].process = None
    assert can_undo(spec, await observe(world_of(spec, network, folder)))
    marker = network.machines["infra3"].file("/etc/etcd/etcdup.json")
    assert marker is not None
    marker.content = (marker.content or b"").replace(b'"undone"', b'"joined"')
    assert not can_undo(spec, await observe(world_of(spec, network, folder)))


async def test_without_a_restore_there_is_nothing_to_undo(texts: Texts, tmp_path: Path) -> None:
    spec, start = await prepare_old_cluster(3, tmp_path)
    network, folder = start.copy_to("one")
    answer = plan_undo(spec, await observe(world_of(spec, network, folder)), "aside-7")
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])
