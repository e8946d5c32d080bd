"""`maintain defrag --offline` on fake machines: a rolling restart, also after a kill at every command."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.offline_defrag import plan_offline_defrag
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.flows.test_defrag import ALL, MIB, OVER, fragment, leader_of, sizes
from tests.support.fake_world import TOKEN, RecordingReporter, running_network, spec_of, world_of
from tests.support.kill_everywhere import apply_and_check, kill_after, kill_points, prepare_start
from tests.support.texts import Texts

Run = Callable[[Spec, FakeNetwork, Path], Awaitable[None]]
SPEC = spec_of()


def offline_defrag(*names: str, every: bool = False) -> Run:
    """Return `maintain defrag --offline`, without the terminal."""

    async def run(spec: Spec, network: FakeNetwork, folder: Path) -> None:
        world = world_of(spec, network, folder)
        world.reads_activity = True

        def planner(fresh: Observed) -> Plan | Refusal:
            return plan_offline_defrag(spec, fresh, TOKEN, names, OVER, every=every)

        plan = planner(await observe(world))
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        with Journal.in_folder(folder, spec.name) as journal:
            results = await apply(world, plan, planner, RecordingReporter([]), journal)
        assert all(result.ok for result in results)

    return run


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return three machines with a healthy cluster whose databases are fragmented."""
    found = await running_network(SPEC, tmp_path)
    fragment(found)
    return found


def defragmented(network: FakeNetwork) -> list[str]:
    return [name for name, command in network.commands if command == ("etcdutl", "defrag")]


def stopped(network: FakeNetwork) -> list[str]:
    return [name for name, command in network.commands if command == ("systemctl", "stop")]


@pytest.mark.quick
async def test_stopped_members_are_defragmented_and_the_leader_is_last(
    network: FakeNetwork, tmp_path: Path
) -> None:
    leader = leader_of(network)
    await offline_defrag()(SPEC, network, tmp_path)
    assert sorted(defragmented(network)) == list(ALL)
    assert defragmented(network)[-1] == leader
    assert leader_of(network) != leader
    assert sizes(network) == {100 * MIB}
    assert all(machine.process for machine in network.machines.values())
    await offline_defrag()(SPEC, network, tmp_path)
    assert len(defragmented(network)) == 3, "nothing is due"


async def test_a_member_that_is_stopped_starts_first(network: FakeNetwork, tmp_path: Path) -> None:
    """It may be due, which only its own answer says."""
    network.machines["infra2"].end_etcd(0)
    await offline_defrag()(SPEC, network, tmp_path)
    assert sorted(defragmented(network)) == list(ALL)
    network.machines["infra2"].end_etcd(0)
    await offline_defrag()(SPEC, network, tmp_path)
    assert len(defragmented(network)) == 3
    assert network.machines["infra2"].process is not None


async def test_chosen_members_and_little_space(network: FakeNetwork, tmp_path: Path) -> None:
    network.etcd.only().db_size = 120 * MIB
    await offline_defrag("infra2")(SPEC, network, tmp_path)
    assert stopped(network) == []
    await offline_defrag("infra2", every=True)(SPEC, network, tmp_path)
    assert defragmented(network) == ["infra2"]


async def test_a_snapshot_of_another_program_is_waited_for(network: FakeNetwork, tmp_path: Path) -> None:
    process = network.machines["infra2"].process
    assert process is not None
    process.read_until = ends = network.now() + 30.0
    await offline_defrag("infra2")(SPEC, network, tmp_path)
    assert (defragmented(network), network.now() >= ends) == (["infra2"], True)


@pytest.mark.parametrize(
    "why", ["member", "disk", "corrupt", "metrics", "settings", "another defragmentation"]
)
async def test_it_is_refused_before_a_member_stops(network: FakeNetwork, tmp_path: Path, why: str) -> None:
    """The guards of the online defragmentation hold, and those of a restart."""
    spec, other = SPEC, network.machines["infra3"]
    if why == "member":
        other.reachable = False
        other.isolated = True
    if why == "disk":
        network.machines["infra1"].free_bytes = 100 * MIB
    if why == "corrupt":
        network.etcd.only().alarms = ("CORRUPT on member 1",)
    if why == "metrics":
        world = world_of(spec, network, tmp_path)
        observed = await observe(world)
        found = plan_offline_defrag(spec, replace(observed, activity={}), TOKEN, (), OVER)
        assert isinstance(found, Refusal)
        return
    if why == "settings":
        spec = spec_of(more="etcd: {quota: 4GiB}\n")
    if why == "another defragmentation":
        assert other.process is not None
        other.process.blocked_until = network.now() + 120
    with pytest.raises(RefusedError) as refused:
        await offline_defrag()(spec, network, tmp_path)
    assert refused.value.hint
    assert stopped(network) == []


async def test_a_cluster_of_one_member_says_that_no_client_is_served(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of((1,))
    network = await running_network(spec, tmp_path)
    fragment(network)
    world = world_of(spec, network, tmp_path)
    world.reads_activity = True
    plan = plan_offline_defrag(spec, await observe(world), TOKEN, (), OVER)
    assert isinstance(plan, Plan)
    texts(plan.notes)
    await offline_defrag()(spec, network, tmp_path)
    assert sizes(network) == {100 * MIB}


async def test_a_tool_that_fails_stops_the_run_and_no_member_stays_down(
    texts: Texts, network: FakeNetwork, tmp_path: Path
) -> None:
    for machine in network.machines.values():
        machine.defrag_fails = True
    with pytest.raises(PartlyApplied) as failed:
        await offline_defrag()(SPEC, network, tmp_path)
    texts(failed.value)
    assert len(stopped(network)) == 1
    assert all(machine.process for machine in network.machines.values())
    assert sizes(network) == {1000 * MIB}
    await apply_and_check(SPEC, network, tmp_path)


async def test_without_the_tool_no_member_stops(network: FakeNetwork, tmp_path: Path) -> None:
    for machine in network.machines.values():
        machine.remove(f"/opt/etcd/{SPEC.version}/etcdutl")
    with pytest.raises(EtcdupError):
        await offline_defrag()(SPEC, network, tmp_path)
    assert stopped(network) == []


@pytest.mark.parametrize("verb", ["the same command", "apply"])
async def test_it_is_finished_after_a_kill_at_any_command(tmp_path: Path, verb: str) -> None:
    """The script on the host is killed too. A stopped member is started by the same command, and by `apply`."""
    start = await prepare_start(SPEC, SPEC, tmp_path)
    fragment(start.network)
    run = offline_defrag()
    with start.copied("whole") as (network, folder):
        await run(SPEC, network, folder)
        commands = len(network.commands)
    assert commands > 6
    for cut in kill_points(commands + 1):
        with start.copied(cut) as (network, folder):
            await kill_after(cut, network, run(SPEC, network, folder))
            assert sum(machine.process is None for machine in network.machines.values()) <= 1
            if verb == "apply":
                await apply_and_check(SPEC, network, folder)
            await run(SPEC, network, folder)
            assert sizes(network) == {100 * MIB}
            await apply_and_check(SPEC, network, folder)


@pytest.mark.parametrize("killed", [True, False])
async def test_it_is_finished_after_a_host_loses_its_power(tmp_path: Path, killed: bool) -> None:
    start = await prepare_start(SPEC, SPEC, tmp_path)
    fragment(start.network)
    run = offline_defrag()
    with start.copied("whole") as (network, folder):
        await run(SPEC, network, folder)
        commands = len(network.commands)
    for number, cut in enumerate(kill_points(commands + 1)):
        victim = ALL[number % len(ALL)]
        with start.copied(cut) as (network, folder):
            if killed:
                await kill_after(cut, network, run(SPEC, network, folder))
                network.crash(victim)
            else:
                network.at(cut, partial(network.crash, victim))
                with suppress(EtcdupError):
                    await run(SPEC, network, folder)
            network.restart_etcdup()
            network.reboot(victim)
            await network.sleep(60)
            await run(SPEC, network, folder)
            assert sizes(network) == {100 * MIB}
            await apply_and_check(SPEC, network, folder)
