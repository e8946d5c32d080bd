"""The restore history in the markers, after every restored host was replaced.

Without it, the next restore would let revisions go back, and an old member that starts again would not be recognised
as a member of a superseded cluster.
"""

import json
from pathlib import Path

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.restore.attempt import was_restored
from etcdup.core.restore.undo import plan_undo
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import TOKEN, RecordingReporter, add_machines, spec_of, world_of
from tests.support.kill_everywhere import apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts


def read_marker(network: FakeNetwork, name: str) -> dict[str, object]:
    node = network.machines[name].file("/etc/etcd/etcdup.json")
    assert node is not None
    return dict(json.loads(node.content or b"")["restored"])


async def test_the_history_outlives_the_replacement_of_every_host(tmp_path: Path) -> None:
    before, after = spec_of([1, 2, 3]), spec_of([4, 5, 6])
    network, folder = (await prepare_start(before, before, tmp_path)).copy_to("one")
    await restore(before, network, folder, snapshot_in(folder))
    add_machines(network, after)
    await apply_and_check(after, network, folder)
    for host in after.hosts:
        history = read_marker(network, host.name)
        assert (history["stage"], history["bump"], history["former"]) == ("joined", 1_000_000_000, [TOKEN])
    observed = await observe(world_of(after, network, folder))
    assert was_restored(after, observed, snapshot_in(folder))
    assert not was_restored(after, observed, snapshot_in(folder, content=b"/another=1\n"))
    await restore(after, network, folder, snapshot_in(folder), run=2)
    raised = {
        argv[argv.index("--bump-revision") + 1] for _, argv in network.commands if "--bump-revision" in argv
    }
    assert raised == {"1000000000", "2000000000"}
    history = read_marker(network, "infra5")
    assert (history["stage"], history["former"]) == ("done", [TOKEN, "prod-restored-1"])


async def test_a_new_member_has_the_history_and_its_restore_cannot_be_undone(
    texts: Texts, tmp_path: Path
) -> None:
    """This holds wherever the replacement is interrupted: it writes the marker twice."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    whole, folder = start.copy_to("whole")
    await replace_infra2(whole, folder)
    for cut in kill_points(len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        await kill_after(cut, network, replace_infra2(network, folder))
        assert read_marker(network, "infra2")["bump"] == 1_000_000_000
        await replace_infra2(network, folder)
        await apply_and_check(spec, network, folder)
        history = read_marker(network, "infra2")
        assert (history["stage"], history["bump"], history["former"]) == ("joined", 1_000_000_000, [TOKEN])
        observed = await observe(world_of(spec, network, folder))
        assert was_restored(spec, observed, snapshot_in(folder)), "its restore is not repeated by mistake"
    answer = plan_undo(spec, await observe(world_of(spec, network, folder)), "aside-7")
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


async def replace_infra2(network: FakeNetwork, folder: Path) -> None:
    """Run `etcdup member replace infra2`, without the terminal."""
    spec = spec_of(3)
    world = world_of(spec, network, folder)
    observed = await observe(world)
    member = id_to_replace(spec, "infra2", observed)
    assert isinstance(member, int)
    plan = plan_replacement(spec, "infra2", member, observed, TOKEN)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(
            world, plan, lambda seen: plan_replacement(spec, "infra2", member, seen, TOKEN),
            RecordingReporter([]), journal,
        )  # fmt: skip
