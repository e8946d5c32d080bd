"""What etcdup says about a restore that was killed: it is true, and the way that it names first works."""

from pathlib import Path

from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_restore import restore, snapshot_in
from tests.flows.test_undo_restore import undo_restore
from tests.support.cases import offset
from tests.support.fake_world import spec_of, world_of
from tests.support.kill_everywhere import kill_after, prepare_start

SPEC = spec_of(3)


def serving(network: FakeNetwork) -> dict[str, int]:
    """Return the members that clients can use, with the ID of their cluster."""
    processes = {name: machine.process for name, machine in network.machines.items()}
    return {name: each.cluster.cluster_id for name, each in processes.items() if each and not each.is_closed}


async def test_a_killed_restore_is_cancelled_without_a_stop_as_long_as_the_old_members_serve(
    tmp_path: Path,
) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    old = serving(start.network)
    network, folder = start.copy_to("whole")
    await restore(SPEC, network, folder, snapshot_in(folder))
    cancelled = 0
    for cut in range(
        1 + offset() % 5, len(network.commands), 5
    ):  # A restore can be cancelled for 11 commands.
        with start.copied(cut) as (killed, killed_folder):
            await kill_after(cut, killed, restore(SPEC, killed, killed_folder, snapshot_in(killed_folder)))
            reasons = refuse_unfinished_restore(SPEC, await observe(world_of(SPEC, killed, killed_folder)))
            cancels = any(each.hint.startswith("to cancel") for each in reasons)
            if not cancels:
                continue
            assert serving(killed) == old
            plan = await undo_restore(SPEC, killed, killed_folder)
            assert "StopMembers" not in [step.kind for step in plan.steps]
            assert serving(killed) == old
            assert not refuse_unfinished_restore(SPEC, await observe(world_of(SPEC, killed, killed_folder)))
            cancelled += 1
    assert cancelled
