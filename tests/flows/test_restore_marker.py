"""What is known of a restore, after every host that it was done on is gone: without it revisions would go back at the
next one, and an old member that comes back would not be known for one of the past."""

import json
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import plan_replacement, replaced_id
from etcdup.core.restore.undo import plan_undo
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork, Killed
from tests.flows.test_restore import restored, snapshot_in
from tests.support.fake_world import TOKEN, Collected, add_machines, spec_of, world_of
from tests.support.kill_everywhere import begun, settled


def mark(network: FakeNetwork, name: str) -> dict[str, object]:
    node = network.machines[name].file("/etc/etcd/etcdup.json")
    assert node is not None
    return dict(json.loads(node.content or b"")["restored"])


async def test_it_outlives_the_exchange_of_every_host(tmp_path: Path) -> None:
    before, after = spec_of([1, 2, 3]), spec_of([4, 5, 6])
    network, folder = (await begun(before, before, tmp_path)).again("one")
    await restored(before, network, folder, snapshot_in(folder))
    add_machines(network, after)
    await settled(after, network, folder)
    for host in after.hosts:
        known = mark(network, host.name)
        assert (known["stage"], known["bump"], known["former"]) == ("joined", 1_000_000_000, [TOKEN])
    await restored(after, network, folder, snapshot_in(folder), run=2)
    raised = {
        argv[argv.index("--bump-revision") + 1] for _, argv in network.commands if "--bump-revision" in argv
    }
    assert raised == {"1000000000", "2000000000"}
    known = mark(network, "infra5")
    assert (known["stage"], known["former"]) == ("done", [TOKEN, "prod-restored-1"])


async def test_a_replaced_member_knows_of_it_and_cannot_go_back(tmp_path: Path) -> None:
    """Wherever the replacement is cut: its mark is written anew twice."""
    spec = spec_of(3)
    start = await begun(spec, spec, tmp_path)
    await restored(spec, start.network, start.folder, snapshot_in(start.folder))
    start.network.commands.clear()
    whole, folder = start.again("whole")
    await replaced(whole, folder)
    for cut in range(1, len(whole.commands)):
        network, folder = start.again(str(cut))
        network.cut_after = cut
        with pytest.raises(Killed):
            await replaced(network, folder)
        network.revive()
        assert mark(network, "infra2")["bump"] == 1_000_000_000
        await replaced(network, folder)
        await settled(spec, network, folder)
        known = mark(network, "infra2")
        assert (known["stage"], known["bump"], known["former"]) == ("joined", 1_000_000_000, [TOKEN])
    answer = plan_undo(spec, await observe(world_of(spec, network, folder)), "aside-7")
    assert isinstance(answer, Refusal)
    assert answer.reasons[0].message.startswith("infra2 has no data of before the restore")


async def replaced(network: FakeNetwork, folder: Path) -> None:
    """One `etcdup member replace infra2`, without the terminal."""
    spec = spec_of(3)
    world = world_of(spec, network, folder)
    observed = await observe(world)
    member = replaced_id(spec, "infra2", observed)
    assert isinstance(member, int)
    plan = plan_replacement(spec, "infra2", member, observed, TOKEN)
    assert isinstance(plan, Plan), plan
    with Journal.beside(folder, spec.name) as journal:
        await apply(
            world, plan, lambda seen: plan_replacement(spec, "infra2", member, seen, TOKEN),
            Collected([]), journal,
        )  # fmt: skip
