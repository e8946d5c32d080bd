"""`restart` on fake machines: all members, one member, and a drain; also after a kill at every command."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from etcdup.core.host.actions import RESTART_UNIT
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.restart import observe_starts, plan_drain, plan_restart
from etcdup.core.spec.model import Spec
from etcdup.errors import RefusedError
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import (
    RecordingReporter,
    make_plan,
    running_network,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import apply_and_check, kill_after, kill_points, prepare_start

Run = Callable[[Spec, FakeNetwork, Path], Awaitable[None]]
ALL = ("infra1", "infra2", "infra3")


def restart_of(*names: str) -> Run:
    """Return `etcdup restart`, without the terminal."""

    async def run(spec: Spec, network: FakeNetwork, folder: Path) -> None:
        world = world_of(spec, network, folder)
        first = await observe(world)
        before = observe_starts(names, first)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_restart(spec, observed, "fresh-token", before)

        plan = planner(first)
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        with Journal.in_folder(folder, spec.name) as journal:
            results = await apply(world, plan, planner, RecordingReporter([]), journal)
        assert all(result.ok for result in results)

    return run


def drain_of(name: str) -> Run:
    """Return `etcdup restart NAME --drain`, without the terminal."""

    async def run(spec: Spec, network: FakeNetwork, folder: Path) -> None:
        world = world_of(spec, network, folder)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_drain(spec, name, observed, "fresh-token")

        plan = planner(await observe(world))
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        with Journal.in_folder(folder, spec.name) as journal:
            await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)

    return run


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return three machines with a healthy cluster."""
    found = await running_network(spec_of(), tmp_path)
    found.commands.clear()
    return found


def restarted(network: FakeNetwork) -> list[str]:
    return [name for name, command in network.commands if RESTART_UNIT in command]


def leader_of(network: FakeNetwork) -> str:
    return next(iter(network.etcd.leaders.values()))


async def test_every_member_restarts_once_and_the_leader_last(network: FakeNetwork, tmp_path: Path) -> None:
    leader = leader_of(network)
    await restart_of(*ALL)(spec_of(), network, tmp_path)
    assert sorted(restarted(network)) == list(ALL)
    assert restarted(network)[-1] == leader
    assert ("etcd", "move-leader") in [command for _, command in network.commands]


async def test_one_member_restarts(network: FakeNetwork, tmp_path: Path) -> None:
    await restart_of("infra2")(spec_of(), network, tmp_path)
    assert restarted(network) == ["infra2"]


@pytest.mark.parametrize("name", ALL)
async def test_a_drained_member_stays_stopped_and_an_apply_starts_it(
    network: FakeNetwork, tmp_path: Path, name: str
) -> None:
    await drain_of(name)(spec_of(), network, tmp_path)
    assert network.machines[name].process is None
    assert network.machines[name].enabled
    assert leader_of(network) != name
    commands = len(network.commands)
    await drain_of(name)(spec_of(), network, tmp_path)
    assert not any("systemctl" in command for _, command in network.commands[commands:])
    await apply_and_check(spec_of(), network, tmp_path)


@pytest.mark.parametrize("run", [restart_of("infra1"), restart_of(*ALL), drain_of("infra1")])
async def test_another_stopped_member_is_no_reserve(network: FakeNetwork, tmp_path: Path, run: Run) -> None:
    """A drain never takes the quorum. A restart starts the stopped member first."""
    await drain_of("infra2")(spec_of(), network, tmp_path)
    try:
        await run(spec_of(), network, tmp_path)
    except RefusedError:
        assert network.machines["infra1"].process is not None
    else:
        assert network.machines["infra2"].process is not None
    assert len([each for each in network.machines.values() if each.process]) >= 2


async def test_settings_that_wait_are_not_put_into_use(network: FakeNetwork, tmp_path: Path) -> None:
    spec = spec_of(more="etcd: {heartbeat_ms: 150, election_ms: 1500}\n")
    for run in (restart_of(*ALL), drain_of("infra1")):
        with pytest.raises(RefusedError):
            await run(spec, network, tmp_path)
    assert restarted(network) == []


async def test_an_unreachable_host_is_not_skipped(network: FakeNetwork, tmp_path: Path) -> None:
    network.crash("infra3")
    with pytest.raises(RefusedError):
        await restart_of(*ALL)(spec_of(), network, tmp_path)
    assert restarted(network) == []


async def test_a_restart_of_all_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    assert await kill_restart_everywhere(tmp_path, restart_of(*ALL)) > 15


async def test_a_drain_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    assert await kill_restart_everywhere(tmp_path, drain_of("infra1")) > 3


async def kill_restart_everywhere(folder: Path, run: Run) -> int:
    """Kill the verb after every command in turn. The same verb, and then an apply, must finish."""
    start, spec = await prepare_start(spec_of(), spec_of(), folder), spec_of()
    with start.copied("whole") as (network, copy):
        await run(spec, network, copy)
        commands = len(network.commands)
    for cut in kill_points(commands):
        with start.copied(cut) as (network, copy):
            before = {name: len(machine.starts) for name, machine in network.machines.items()}
            await kill_after(cut, network, run(spec, network, copy))
            assert len([each for each in network.machines.values() if each.process]) >= 2
            await run(spec, network, copy)
            after = {name: len(machine.starts) for name, machine in network.machines.items()}
            stopped = [name for name, machine in network.machines.items() if machine.process is None]
            assert stopped or all(after[name] > before[name] for name in ALL)
            await apply_and_check(spec, network, copy)
            left = await make_plan(spec, network, copy)
            assert isinstance(left, Plan)
    return commands
