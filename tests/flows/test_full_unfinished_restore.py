"""A restore that was killed while its members serve clients, whose writes then use up the quota.

The last steps of the restore write a key. The same command finishes it: after `maintain fix-space`, or with a larger
quota, also if a host has lost its data.
"""

from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.random_sequences.verbs import Operator, replace_member
from tests.flows.test_fix_space import fix_space
from tests.flows.test_restore import assert_restored, cluster_of, expect_refusal, restore, snapshot_in
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import Start, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

MIB = 1024**2
SPEC = spec_of(more="etcd: {quota: 400MiB}\n")
LARGER = spec_of(more="etcd: {quota: 1GiB}\n")


async def kill_while_open(folder: Path) -> Start:
    """Return a cluster whose restore was killed when all its members served clients, before the last steps."""
    start = await prepare_start(SPEC, SPEC, folder)
    network, whole = start.copy_to("whole")
    await restore(SPEC, network, whole, snapshot_in(whole))
    for cut in range(len(network.commands) - 1, 0, -1):
        killed, killed_folder = start.copy_to(f"open-{cut}")
        await kill_after(cut, killed, restore(SPEC, killed, killed_folder, snapshot_in(killed_folder)))
        observed = await observe(world_of(SPEC, killed, killed_folder))
        markers = [seen.marker for seen in observed.reachable().values()]
        stages = {marker.restored.stage for marker in markers if marker and marker.restored}
        if stages == {"open"} and len(observed.answering()) == 3:
            return Start(killed, killed_folder)
    raise AssertionError("no cut leaves all members open")


def fill(network: FakeNetwork, *, in_use: int, old: int) -> None:
    cluster = cluster_of(network)
    cluster.index += 5000
    cluster.db_size, cluster.db_in_use, cluster.db_old = 400 * MIB, in_use * MIB, old * MIB
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))


async def assert_finished(spec: Spec, network: FakeNetwork, folder: Path) -> None:
    assert not refuse_unfinished_restore(spec, await observe(world_of(spec, network, folder)))
    assert cluster_of(network).alarms == ()
    await assert_restored(spec, network, folder)


@pytest.mark.quick
async def test_fix_space_frees_space_for_the_rest_of_the_restore(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await kill_while_open(tmp_path)).parts
    fill(network, in_use=395, old=350)
    commands = len(network.commands)
    (reason,) = await expect_refusal(SPEC, network, folder, snapshot_in(folder))
    texts(reason)
    assert len(network.commands) == commands
    assert await fix_space(SPEC, network, folder)
    await restore(SPEC, network, folder, snapshot_in(folder), run=2)
    await assert_finished(SPEC, network, folder)


@pytest.mark.parametrize("free", [0, 300], ids=["larger quota", "freed already"])
async def test_the_same_restore_disarms_the_alarm_if_there_is_space(tmp_path: Path, free: int) -> None:
    """With a larger quota in cluster.yaml, one member after the other restarts with it."""
    start = await kill_while_open(tmp_path)
    fill(start.network, in_use=395, old=0)
    cluster_of(start.network).db_size -= free * MIB
    spec = SPEC if free else LARGER
    whole, folder = start.copy_to("one")
    plan = await restore(spec, whole, folder, snapshot_in(folder), run=2)
    kinds = [step.kind for step in plan.steps]
    assert kinds.count("RestartMember") == (0 if free else 3)
    assert "StopMembers" not in kinds
    commands = len(whole.commands)  # `assert_finished` runs more of them
    await assert_finished(spec, whole, folder)
    for cut in kill_points(commands):
        network, folder = start.copy_to(f"cut-{cut}")
        network.cut_after = cut
        with suppress(Killed):
            await restore(spec, network, folder, snapshot_in(folder), run=2)
        network.restart_etcdup()
        await restore(spec, network, folder, snapshot_in(folder), run=3)
        await assert_finished(spec, network, folder)


async def test_a_host_without_data_does_not_block_the_rest_of_the_restore(
    texts: Texts, tmp_path: Path
) -> None:
    """The two others are the quorum. They stop together to get the larger quota, while writes are refused anyway."""
    network, folder = (await kill_while_open(tmp_path)).parts
    fill(network, in_use=395, old=0)
    network.wipe("infra2")
    with pytest.raises(EtcdupError) as caught:
        await restore(LARGER, network, folder, snapshot_in(folder), run=2)
    texts(caught.value)
    assert not refuse_unfinished_restore(LARGER, await observe(world_of(LARGER, network, folder)))
    assert cluster_of(network).alarms == ()
    await replace_member("infra2")(Operator(LARGER, network, folder, 3))
    await assert_restored(LARGER, network, folder)


async def test_a_quota_used_up_in_the_last_steps_ends_with_the_command_that_helps(
    texts: Texts, tmp_path: Path
) -> None:
    """Clients can use it up after any command. Then the write of etcdup is refused, or the proof at the end fails."""
    start = await kill_while_open(tmp_path)
    whole, folder = start.copy_to("last")
    await restore(SPEC, whole, folder, snapshot_in(folder), run=2)
    last = len(whole.commands) - len(SPEC.hosts)  # after it, each member is proved by a write
    hints = set()
    for cut in range(1, last + 1):
        network, folder = start.copy_to(f"full-{cut}")
        network.at(cut, partial(fill, network, in_use=395, old=350))
        with pytest.raises(EtcdupError) as failed:
            await restore(SPEC, network, folder, snapshot_in(folder), run=2)
        hints.add(failed.value.hint)
        network.restart_etcdup()
        assert await fix_space(SPEC, network, folder)
        with suppress(RefusedError):  # it was complete
            await restore(SPEC, network, folder, snapshot_in(folder), run=3)
        await assert_finished(SPEC, network, folder)
    texts(sorted(hints))
