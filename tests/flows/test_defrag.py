"""`maintain defrag` and `maintain move-leader` on fake machines, also after a kill at every command."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.maintain.defrag import members_due, plan_defrag
from etcdup.core.maintain.leadership import best_follower, plan_move_leader
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import RecordingReporter, running_network, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_after, kill_points, prepare_start

Run = Callable[[Spec, FakeNetwork, Path], Awaitable[None]]
SPEC = spec_of()
ALL = ("infra1", "infra2", "infra3")
MIB = 1024**2
OVER = 200 * MIB
LONG_S = 120.0


async def carry_out(
    spec: Spec, network: FakeNetwork, folder: Path, choose: Callable[[Observed], Planner]
) -> None:
    world = world_of(spec, network, folder)
    world.reads_activity = True
    first = await observe(world)
    planner = choose(first)
    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)


def defrag_of(*names: str, every: bool = False) -> Run:
    """Return `maintain defrag`, without the terminal. Without names: the members that are due."""

    async def run(spec: Spec, network: FakeNetwork, folder: Path) -> None:
        def choose(first: Observed) -> Planner:
            chosen = names or members_due(spec, first, OVER)
            return lambda fresh: plan_defrag(spec, fresh, chosen, every=every)

        await carry_out(spec, network, folder, choose)

    return run


def move_to(name: str = "") -> Run:
    """Return `maintain move-leader`, without the terminal."""

    async def run(spec: Spec, network: FakeNetwork, folder: Path) -> None:
        def choose(first: Observed) -> Planner:
            target = name or best_follower(first)
            return lambda fresh: plan_move_leader(spec, fresh, target)

        await carry_out(spec, network, folder, choose)

    return run


def fragment(network: FakeNetwork) -> None:
    """Make the database files of all members much larger than their data."""
    cluster = network.etcd.only()
    cluster.db_size, cluster.db_in_use = 1000 * MIB, 100 * MIB


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return three machines with a healthy cluster whose databases are fragmented."""
    found = await running_network(SPEC, tmp_path)
    fragment(found)
    return found


def defragmented(network: FakeNetwork) -> list[str]:
    return [name for name, command in network.commands if command == ("etcd", "defragment")]


def leader_of(network: FakeNetwork) -> str:
    return next(iter(network.etcd.leaders.values()))


def sizes(network: FakeNetwork) -> set[int]:
    cluster = network.etcd.only()
    return {cluster.size_of(each) for each in cluster.members}


@pytest.mark.quick
async def test_followers_are_first_and_the_leader_is_last(network: FakeNetwork, tmp_path: Path) -> None:
    leader = leader_of(network)
    await defrag_of()(SPEC, network, tmp_path)
    assert sorted(defragmented(network)) == list(ALL)
    assert defragmented(network)[-1] == leader
    assert leader_of(network) != leader
    assert sizes(network) == {100 * MIB}


async def test_members_that_free_little_are_left_out(network: FakeNetwork, tmp_path: Path) -> None:
    network.etcd.only().db_size = 120 * MIB
    await defrag_of()(SPEC, network, tmp_path)
    await defrag_of("infra2")(SPEC, network, tmp_path)
    assert defragmented(network) == []
    await defrag_of("infra2", every=True)(SPEC, network, tmp_path)
    assert defragmented(network) == ["infra2"]


async def test_a_defragmentation_that_takes_longer_than_its_request_is_waited_for(
    network: FakeNetwork, tmp_path: Path
) -> None:
    """No second member begins before the first one has ended."""
    for machine in network.machines.values():
        machine.defrag_s = LONG_S
    await defrag_of()(SPEC, network, tmp_path)
    assert sizes(network) == {100 * MIB}
    assert not network.etcd.only().was_blocked_twice


async def test_a_defragmentation_of_another_program_is_refused(network: FakeNetwork, tmp_path: Path) -> None:
    process = network.machines["infra3"].process
    assert process is not None
    process.blocked_until = network.now() + LONG_S
    with pytest.raises(RefusedError):
        await defrag_of("infra1")(SPEC, network, tmp_path)
    assert defragmented(network) == []


@pytest.mark.parametrize("lasts_s", [30.0, 100_000.0])
async def test_a_snapshot_of_another_program_is_waited_for(
    network: FakeNetwork, tmp_path: Path, lasts_s: float
) -> None:
    process = network.machines["infra2"].process
    assert process is not None
    process.read_until = ends = network.now() + lasts_s
    if lasts_s > 600:
        with pytest.raises(EtcdupError):
            await defrag_of("infra2")(SPEC, network, tmp_path)
        assert defragmented(network) == []
    else:
        await defrag_of("infra2")(SPEC, network, tmp_path)
        assert defragmented(network) == ["infra2"]
        assert network.now() >= ends


@pytest.mark.parametrize("why", ["stopped", "disk", "corrupt", "learner", "lag", "version", "metrics"])
async def test_the_guards(network: FakeNetwork, tmp_path: Path, why: str) -> None:
    """Each of these forbids the defragmentation of infra2."""
    world = world_of(SPEC, network, tmp_path)
    world.reads_activity = True
    if why == "stopped":
        network.machines["infra3"].end_etcd(0)
    if why == "corrupt":
        network.etcd.only().alarms = ("CORRUPT on member 1",)
    observed = await observe(world)
    seen, host = observed.answering()["infra2"], observed.reachable()["infra2"]
    if why == "disk":
        host = replace(host, data=replace(host.data, free_bytes=seen.db_in_use))
    if why == "lag":
        seen = replace(seen, applied_index=seen.raft_index - 5000, raft_index=seen.raft_index + 5000)
    if why == "version":
        seen = replace(seen, version=seen.version._replace(minor=5, patch=4))
    if why == "learner":
        listed = (*seen.members[:2], replace(seen.members[2], is_learner=True))
        seen = replace(seen, members=listed)
        observed = replace(
            observed,
            members={name: replace(each, members=listed) for name, each in observed.answering().items()},
        )
    activity = {} if why == "metrics" else observed.activity
    observed = replace(
        observed,
        hosts={**observed.hosts, "infra2": host},
        members={**observed.members, "infra2": seen},
        activity=activity,
    )
    assert isinstance(plan_defrag(SPEC, observed, ["infra2"]), Refusal)


async def test_a_nospace_alarm_is_no_obstacle(network: FakeNetwork, tmp_path: Path) -> None:
    """The alarm needs a defragmentation most. The next apply disarms it."""
    cluster = network.etcd.only()
    cluster.db_size = SPEC.etcd.quota
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
    await defrag_of()(SPEC, network, tmp_path)
    assert sorted(defragmented(network)) == list(ALL)
    await apply_and_check(SPEC, network, tmp_path)
    assert cluster.alarms == ()


async def test_a_member_that_ends_meanwhile_stops_the_run(network: FakeNetwork, tmp_path: Path) -> None:
    network.at(1, lambda: end_first_blocked(network))
    with pytest.raises(EtcdupError):
        await defrag_of()(SPEC, network, tmp_path)
    assert len(defragmented(network)) == 1


@pytest.mark.parametrize("spec", [SPEC, spec_of(5)], ids=["three", "five"])
async def test_the_death_of_another_member_stops_the_run_at_the_next_member(
    spec: Spec, tmp_path: Path
) -> None:
    """The defragmented member serves its clients again, and the quorum was never in danger."""
    network = await running_network(spec, tmp_path)
    fragment(network)
    network.at(1, lambda: network.crash(leader_of(network)))
    with pytest.raises(EtcdupError) as stopped:
        await defrag_of()(spec, network, tmp_path)
    assert stopped.value.hint
    assert len(defragmented(network)) == 1
    running = [machine for machine in network.machines.values() if machine.process]
    assert len(running) == len(network.machines) - 1
    assert all(not each.process or each.process.ready for each in running)


def end_first_blocked(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        if machine.process is not None and machine.process.blocked_until:
            machine.end_etcd(0)


@pytest.mark.parametrize("target", ["", "infra2", "infra3"])
async def test_the_leader_moves(network: FakeNetwork, tmp_path: Path, target: str) -> None:
    before = leader_of(network)
    await move_to(target)(SPEC, network, tmp_path)
    assert leader_of(network) == (target or leader_of(network)) != before
    now = leader_of(network)
    await move_to(now)(SPEC, network, tmp_path)
    assert [command for _, command in network.commands].count(("etcd", "move-leader")) == 1


async def test_a_member_that_is_not_healthy_does_not_get_the_leadership(
    network: FakeNetwork, tmp_path: Path
) -> None:
    network.machines["infra3"].end_etcd(0)
    with pytest.raises(RefusedError):
        await move_to("infra3")(SPEC, network, tmp_path)


async def test_a_defrag_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    fragment(start.network)
    assert await kill_defrag_everywhere(start, defrag_of()) > 3


async def test_a_move_of_the_leader_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    assert await kill_defrag_everywhere(start, move_to("infra3")) >= 1


async def kill_defrag_everywhere(start: Start, run: Run) -> int:
    """Kill the verb after every command in turn. All members run, and the same verb, run again, finishes.

    A member may still be blocked after the kill: the verb then waits or refuses.
    """
    with start.copied("whole") as (network, folder):
        await run(SPEC, network, folder)
        commands = len(network.commands)
    for cut in kill_points(commands + 1):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, run(SPEC, network, folder))
            assert all(machine.process for machine in network.machines.values())
            await network.sleep(60)
            await run(SPEC, network, folder)
            await apply_and_check(SPEC, network, folder)
            assert not network.etcd.only().was_blocked_twice
            if network.etcd.only().db_size > 900 * MIB:
                assert sizes(network) == {100 * MIB}
    return commands
