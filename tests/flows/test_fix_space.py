"""`maintain fix-space` on fake machines, also after a kill at every command."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from etcdup.core.maintain.compaction import Compaction
from etcdup.core.maintain.defrag import refuse_any_defrag
from etcdup.core.maintain.fix_space import Measured, is_short_of_space, members_to_shrink, plan_fix_space
from etcdup.core.maintain.space import Space, Use
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.cluster import FakeCluster
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import RecordingReporter, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

MIB = 1024**2
QUOTA = 400 * MIB
SPEC = spec_of(more="etcd: {quota: 400MiB}\n")
ALL = ["infra1", "infra2", "infra3"]
# The bytes in use, and those of them that are history, in MiB.
CAUSES: Mapping[str, tuple[int, int]] = {
    "revisions": (395, 350),
    "free pages": (40, 0),
    "keys": (395, 10),
}


def measured(cluster: FakeCluster) -> Measured:
    """Return what a snapshot of this cluster shows."""
    used, old = cluster.db_in_use, cluster.db_old
    whole = Use(keys=10, bytes=used - old, old=10 * bool(old), old_bytes=old)
    space = Space(
        cluster.index, cluster.compacted, cluster.db_size, used, whole, 0, {b"/registry/": whole}, 0
    )
    left = Compaction(cluster.index, 10, used - old)
    return Measured(space, left, left)


async def fix_space(spec: Spec, network: FakeNetwork, folder: Path) -> bool:
    """Do what the verb does, without the terminal and the snapshot. Return whether there was something to do."""
    world = world_of(spec, network, folder)
    world.reads_activity = True
    first = await observe(world)
    if reasons := refuse_any_defrag(spec, first):
        raise_refusal(Refusal(spec.name, reasons))
    if not is_short_of_space(spec, first):
        return False
    cluster_id = next(iter(first.answering().values())).cluster_id
    use = measured(network.etcd.by_id[cluster_id])
    chosen = members_to_shrink(spec, first, use)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_fix_space(spec, fresh, use, chosen)

    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world, plan, planner, RecordingReporter([]), journal)
    return True


def fill(network: FakeNetwork, cause: str) -> None:
    """Let the databases reach their quota."""
    cluster = network.etcd.only()
    cluster.db_size = QUOTA
    cluster.db_in_use, cluster.db_old = (part * MIB for part in CAUSES[cause])
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))


async def start_with(folder: Path, cause: str) -> Start:
    start = await prepare_start(SPEC, SPEC, folder)
    fill(start.network, cause)
    return start


def requests(network: FakeNetwork) -> list[tuple[str, str]]:
    """Return the requests that change the space, with their members."""
    chosen = ("compact", "defragment", "disarm", "move-leader")
    return [
        (command[1], name)
        for name, command in network.commands
        if command[0] == "etcd" and command[1] in chosen
    ]


@pytest.mark.quick
async def test_a_storm_of_revisions_is_compacted_on_every_member_before_a_defragmentation(
    tmp_path: Path,
) -> None:
    network, folder = (await start_with(tmp_path, "revisions")).parts
    assert await fix_space(SPEC, network, folder)
    done = requests(network)
    assert done[:3] == [("compact", name) for name in ALL]
    assert sorted(name for what, name in done if what == "defragment") == ALL
    assert done[-1][0] == "disarm"
    cluster = network.etcd.only()
    assert cluster.alarms == ()
    assert {cluster.size_of(each) for each in cluster.members} == {45 * MIB}
    await apply_and_check(SPEC, network, folder)
    assert not await fix_space(SPEC, network, folder)


async def test_free_pages_need_no_compaction(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, "free pages")).parts
    assert await fix_space(SPEC, network, folder)
    assert "compact" not in dict(requests(network))
    await apply_and_check(SPEC, network, folder)


async def test_only_the_member_that_was_not_defragmented_is_made_smaller(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, "free pages")).parts
    cluster = network.etcd.only()
    odd = next(each for each, member in cluster.members.items() if member.name == "infra2")
    cluster.defragmented = {each: 50 * MIB for each in cluster.members if each != odd}
    assert await fix_space(SPEC, network, folder)
    assert [name for what, name in requests(network) if what == "defragment"] == ["infra2"]
    await apply_and_check(SPEC, network, folder)


@pytest.mark.parametrize("why", ["too much data", "stopped", "disk", "denied", "snapshot"])
async def test_it_refuses_before_it_changes_anything(tmp_path: Path, why: str) -> None:
    network, folder = (await start_with(tmp_path, "keys" if why == "too much data" else "revisions")).parts
    if why == "stopped":
        network.machines["infra3"].end_etcd(0)
    if why == "disk":
        network.machines["infra2"].free_bytes = 30 * MIB
    if why == "denied":
        network.etcd.only().auth, network.etcd.only().denied = True, "permission denied"
    if why == "snapshot":
        process = network.machines["infra3"].process
        assert process is not None
        process.blocked_until = network.now() + 60
    with pytest.raises(RefusedError):
        await fix_space(SPEC, network, folder)
    assert requests(network) == []


async def test_a_larger_quota_is_the_way_if_the_keys_need_the_space(texts: Texts, tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, "keys")).parts
    with pytest.raises(RefusedError) as refused:
        await fix_space(SPEC, network, folder)
    texts(refused.value)
    await apply_and_check(spec_of(more="etcd: {quota: 800MiB}\n"), network, folder)
    assert network.etcd.only().alarms == ()


async def test_a_compaction_that_takes_longer_than_its_request_is_waited_for(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, "revisions")).parts
    network.etcd.only().compacts_until = network.now() + 200
    assert await fix_space(SPEC, network, folder)
    assert [name for what, name in requests(network) if what == "compact"].count("infra1") > 1
    await apply_and_check(SPEC, network, folder)


async def test_a_member_that_ends_during_the_compaction_stops_the_run(tmp_path: Path) -> None:
    network, folder = (await start_with(tmp_path, "revisions")).parts
    network.at(1, lambda: network.machines["infra2"].end_etcd(0))
    with pytest.raises(EtcdupError) as failed:
        await fix_space(SPEC, network, folder)
    assert isinstance(failed.value, PartlyApplied)
    assert "defragment" not in dict(requests(network))


async def test_the_alarm_stays_if_a_database_is_still_too_large(tmp_path: Path) -> None:
    """The snapshot promised more than the defragmentations freed."""
    network, folder = (await start_with(tmp_path, "free pages")).parts
    cluster = network.etcd.only()
    network.at(1, lambda: setattr(cluster, "db_in_use", QUOTA))
    with pytest.raises(EtcdupError):
        await fix_space(SPEC, network, folder)
    assert "disarm" not in dict(requests(network))
    assert len(cluster.alarms) == 3


@pytest.mark.parametrize("cause", ["revisions", "free pages"])
async def test_it_is_finished_after_a_kill_at_any_command(tmp_path: Path, cause: str) -> None:
    start = await start_with(tmp_path, cause)
    with start.copied("whole") as (network, folder):
        await fix_space(SPEC, network, folder)
        commands = len(network.commands)
    assert commands > 4
    for cut in kill_points(commands + 1):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, fix_space(SPEC, network, folder))
            assert all(machine.process for machine in network.machines.values())
            await network.sleep(60)
            await fix_space(SPEC, network, folder)
            cluster = network.etcd.only()
            assert cluster.alarms == ()
            assert not cluster.was_blocked_twice
            assert all(cluster.size_of(each) < QUOTA for each in cluster.members)
            await apply_and_check(SPEC, network, folder)
