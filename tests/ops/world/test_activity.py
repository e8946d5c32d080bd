"""What members do with their databases, from the metrics of those that run."""

from pathlib import Path

from etcdup.core.observed.activity import Activity
from etcdup.ops.world.activity import observe_activity
from etcdup.ops.world.observe import observe
from tests.support.fake_world import running_network, spec_of, world_of


async def test_each_member_that_runs_has_an_activity(tmp_path: Path) -> None:
    spec = spec_of()
    network = await running_network(spec, tmp_path)
    one, two, three = (network.machines[f"infra{number}"] for number in (1, 2, 3))
    assert one.process is not None
    assert two.process is not None
    one.process.blocked_until = network.now() + 60
    two.process.read_until = network.now() + 60
    three.end_etcd(0)
    world = world_of(spec, network, tmp_path)
    found = (await observe_activity(world, await observe(world))).activity
    assert found == {"infra1": Activity(defragments=True), "infra2": Activity(snapshots=1)}
