"""What is known of a restore, after every host that it was done on is gone: without it revisions would go back at the
next one, and an old member that comes back would not be known for one of the past."""

import json
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.restore.undo import plan_undo
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_restore import restore, snapshot_in
from tests.support.fake_world import TOKEN, RecordingReporter, add_machines, spec_of, world_of
from tests.support.kill_everywhere import apply_and_check, prepare_start


def read_marker(network: FakeNetwork, name: str) -> dict[str, object]:
    node = network.machines[name].file("/etc/etcd/etcdup.json")
    assert node is not None
    return dict(json.loads(node.content or b"")["restored"])


async def test_it_outlives_the_exchange_of_every_host(tmp_path: Path) -> None:
    before, after = spec_of([1, 2, 3]), spec_of([4, 5, 6])
    network, folder = (await prepare_start(before, before, tmp_path)).copy_to("one")
    await restore(before, network, folder, snapshot_in(folder))
    add_machines(network, after)
    await apply_and_check(after, network, folder)
    for host in after.hosts:
        known = read_marker(network, host.name)
        assert (known["stage"], known["bump"], known["former"]) == ("joined", 1_000_000_000, [TOKEN])
    await restore(after, network, folder, snapshot_in(folder), run=2)
    raised = {
        argv[argv.index("--bump-revision") + 1] for _, argv in network.commands if "--bump-revision" in argv
    }
    assert raised == {"1000000000", "2000000000"}
    known = read_marker(network, "infra5")
    assert (known["stage"], known["former"]) == ("done", [TOKEN, "prod-restored-1"])


async def test_a_replaced_member_knows_of_it_and_cannot_go_back(tmp_path: Path) -> None:
    """Wherever the replacement is cut: its mark is written anew twice."""
    spec = spec_of(3)
    start = await prepare_start(spec, spec, tmp_path)
    await restore(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    whole, folder = start.copy_to("whole")
    await replace_infra2(whole, folder)
    for cut in range(1, len(whole.commands)):
        network, folder = start.copy_to(str(cut))
        network.cut_after = cut
        with pytest.raises(Killed):
            await replace_infra2(network, folder)
        network.restart_etcdup()
        assert read_marker(network, "infra2")["bump"] == 1_000_000_000
        await replace_infra2(network, folder)
        await apply_and_check(spec, network, folder)
        known = read_marker(network, "infra2")
        assert (known["stage"], known["bump"], known["former"]) == ("joined", 1_000_000_000, [TOKEN])
    answer = plan_undo(spec, await observe(world_of(spec, network, folder)), "aside-7")
    assert isinstance(answer, Refusal)
    assert answer.reasons[0].message.startswith("infra2 has no data of before the restore")


async def replace_infra2(network: FakeNetwork, folder: Path) -> None:
    """One `etcdup member replace infra2`, without the terminal."""
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
