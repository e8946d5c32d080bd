"""A restore is killed, and cluster.yaml has other members before the same restore runs again.

Restored data contains the member list that it was prepared for. Members with different lists never form a cluster.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Refusal
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_restore import assert_restored, restore, snapshot_in
from tests.flows.test_restore_lost_host import MARKER, SERVED, markers, stage_of_host, tokens
from tests.flows.test_undo_restore import assert_old, kill_when, undo_restore
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import Start, kill_after, kill_points, prepare_start, record_when, strided
from tests.support.texts import Texts

OLD, OTHERS = spec_of([1, 2, 3]), spec_of([3, 4, 5])
MORE, ONE_OTHER, ONE = spec_of([1, 2, 3, 4, 5]), spec_of([1, 2, 4]), spec_of([1])
FILES = {
    "old hosts": (OTHERS, OLD),
    "other hosts": (OLD, OTHERS),
    "one other host": (OLD, ONE_OTHER),
    "fewer hosts": (MORE, OLD),
    "one host": (OLD, ONE),
    "more hosts": (ONE, OLD),
}
KEY, VALUE = b"/old", b"1"


async def start_of(first: Spec, folder: Path) -> tuple[Start, list[int]]:
    """Return a cluster of the old hosts, and after which commands to kill its restore with the first file."""
    start = await prepare_start(OLD, MORE, folder)
    client = await world_of(OLD, start.network, start.folder).etcd("infra1")
    await client.put(KEY, VALUE, timeout_s=1)
    start.network.commands.clear()
    with start.copied("restored") as (whole, copy):
        await restore(first, whole, copy, snapshot_in(copy))
        return start, list(kill_points(len(whole.commands)))


async def killed(start: Start, first: Spec, cut: int) -> tuple[FakeNetwork, Path]:
    """Kill the restore. At every second cut all hosts lose their power, so that every enabled unit starts by itself."""
    network, folder = start.copy_to(str(cut))
    await kill_after(cut, network, restore(first, network, folder, snapshot_in(folder)))
    for name in network.machines if cut % 2 else ():
        network.reboot(name)
    return network, folder


async def restore_until_done(spec: Spec, network: FakeNetwork, folder: Path, run: int) -> None:
    """Run the restore. If clients may have written, it finishes with the former list, and reports the difference."""
    served = {stage_of_host(network, host.name) for host in spec.hosts} & SERVED
    for again in (0, 1) if served else (0,):
        with suppress(*([EtcdupError] if served else [])):
            await restore(spec, network, folder, snapshot_in(folder), run + again)
        network.restart_etcdup()


def prepared_hosts(network: FakeNetwork, spec: Spec) -> list[str]:
    """Return the hosts that are not in this spec, and on which the restore has begun and is not finished."""
    own = {host.name for host in spec.hosts}
    return [n for n in network.machines if n not in own and stage_of_host(network, n) not in ("", "done")]


def assert_nothing_prepared(network: FakeNetwork, names: Iterable[str]) -> None:
    for name in names:
        assert not [path for path in network.machines[name].nodes if "etcd.restore" in path], name


@pytest.mark.parametrize("files", FILES)
async def test_after_any_kill_the_restore_finishes_with_another_file(tmp_path: Path, files: str) -> None:
    first, second = FILES[files]
    start, cuts = await start_of(first, tmp_path)
    for cut in cuts:
        network, folder = await killed(start, first, cut)
        leaving = prepared_hosts(network, second)
        await restore_until_done(second, network, folder, run=2)
        await assert_restored(second, network, folder)
        assert_nothing_prepared(network, leaving)
        own = {host.name: markers(network)[host.name] for host in second.hosts}
        assert len({marker["token"] for marker in own.values()}) == 1
        assert not any("members" in marker["restored"] for marker in own.values()), "it is complete"


async def test_the_second_restore_is_killed_too_and_the_first_file_is_back(tmp_path: Path) -> None:
    start, cuts = await start_of(OTHERS, tmp_path)
    for cut in cuts:
        network, folder = await killed(start, OTHERS, cut)
        network.cut_after = len(network.commands) + cut % 53 + 1
        with suppress(Killed):
            await restore(OLD, network, folder, snapshot_in(folder), run=2)
        network.restart_etcdup()
        await restore_until_done(OTHERS, network, folder, run=3)
        await assert_restored(OTHERS, network, folder)


@pytest.mark.parametrize("killed_again", [False, True])
async def test_the_undo_has_the_data_from_before_both_attempts(tmp_path: Path, killed_again: bool) -> None:
    """No host keeps the data that was prepared on it for the first file."""
    start, cuts = await start_of(MORE, tmp_path)
    tried = 0
    for cut in cuts:
        network, folder = await killed(start, MORE, cut)
        if {stage_of_host(network, name) for name in network.machines} & SERVED:
            break
        if killed_again:
            network.cut_after = len(network.commands) + cut % 97 + 1
        with suppress(Killed):
            await restore(OLD, network, folder, snapshot_in(folder), run=2)
        network.restart_etcdup()
        if any(stage_of_host(network, host.name) for host in OLD.hosts):
            await undo_restore(OLD, network, folder)
            tried += 1
        await assert_old(OLD, {}, network, folder)
    assert tried


async def test_a_restore_that_is_only_prepared_is_cancelled_with_the_previous_file(tmp_path: Path) -> None:
    """The undo stops no member, and no host outside cluster.yaml keeps a marker of the restore."""
    start, _ = await start_of(OTHERS, tmp_path)
    whole, copy = start.copy_to("whole")

    def is_prepared() -> bool:
        begun = any(stage_of_host(whole, name) for name in whole.machines)
        return begun and all(whole.machines[host.name].process for host in OLD.hosts)

    prepared = record_when(whole, is_prepared)
    await restore(OTHERS, whole, copy, snapshot_in(copy))
    for cut in strided(prepared):
        network, folder = await killed(start, OTHERS, cut)
        leaving = prepared_hosts(network, OLD)
        await undo_restore(OLD, network, folder)
        stopped = {name for name, argv in network.commands if argv[:2] == ("systemctl", "stop")}
        assert not stopped & {host.name for host in OLD.hosts}
        assert_nothing_prepared(network, leaving)
        await assert_old(OLD, {}, network, folder)
    assert prepared


@pytest.mark.parametrize("stage", ["staged", "placed"])
async def test_an_undo_is_refused_if_a_host_is_new_in_the_restore(
    texts: Texts, tmp_path: Path, stage: str
) -> None:
    """That host has no data from before the restore. The restore can still be finished."""
    network, folder = (await start_of(ONE_OTHER, tmp_path))[0].parts

    def is_reached() -> bool:
        stages = {stage_of_host(network, host.name) for host in ONE_OTHER.hosts}
        return stage in stages and not network.machines["infra1"].process and "" not in stages

    kill_when(network, is_reached)
    with suppress(Killed):
        await restore(ONE_OTHER, network, folder, snapshot_in(folder))
    network.restart_etcdup()
    assert stage_of_host(network, "infra1") == stage
    observed = await observe(world_of(ONE_OTHER, network, folder))
    assert not can_undo(ONE_OTHER, observed)
    refused = plan_undo(ONE_OTHER, observed, "aside-2")
    assert isinstance(refused, Refusal)
    assert [reason.host for reason in refused.reasons] == ["infra4"]
    texts(refused)
    if stage == "staged":
        undone, copy = Start(network, folder).copy_to("undone")
        await undo_restore(OLD, undone, copy)
        await assert_old(OLD, {}, undone, copy)
    await restore(ONE_OTHER, network, folder, snapshot_in(folder), run=2)
    await assert_restored(ONE_OTHER, network, folder)


@pytest.mark.quick
async def test_data_that_is_prepared_for_the_same_list_is_used(tmp_path: Path) -> None:
    start, _ = await start_of(OLD, tmp_path)
    staged: list[str] = []
    for cut in range(10, 60):
        network, folder = await killed(start, OLD, cut)
        staged = [name for name in markers(network) if stage_of_host(network, name) == "staged"]
        if staged:
            break
    assert staged
    for name in staged[:1]:  # an earlier version of etcdup wrote this marker
        marker = markers(network)[name]
        del marker["restored"]["members"]
        network.machines[name].put(MARKER, json.dumps(marker).encode())
    await restore(OLD, network, folder, snapshot_in(folder), run=2)
    await assert_restored(OLD, network, folder)
    assert tokens(network) == {"prod-restored-1"}
