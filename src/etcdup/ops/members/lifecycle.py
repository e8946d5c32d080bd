"""Form the cluster, start and restart members, and wait until the outcome is observed."""

import asyncio
from collections.abc import Sequence

from etcdup.core.host.actions import RunCommand, pause_commands, restart_commands, start_command, stop_command
from etcdup.core.host.commands import form_commands, record_endpoints_command, seal_commands
from etcdup.core.host.unproved import run_binary_command
from etcdup.core.members.member_list import host_of
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.host_steps import RecordEndpoints
from etcdup.core.plan.member_steps import FormCluster, MoveClients, RestartMember
from etcdup.core.plan.step import HostStep
from etcdup.core.spec.layout import layout_of
from etcdup.errors import EtcdupError
from etcdup.ops.members.proof import forget_previous, prove_served_files, wait_until_healthy
from etcdup.ops.versions.version_steps import prepare_restart, verify_restart
from etcdup.ops.world.connected_clients import wait_for_moved_clients
from etcdup.ops.world.cut_members import refuse_stop_of_cut_member
from etcdup.ops.world.health import prove_voters
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import Condition, all_proved, wait_for_condition
from etcdup.ops.world.world import World

# A cold start takes 0.3 to 3.6 s (rule 3). The rest of the time is for slow disks and networks.
FORM_TIMEOUT_S = 60.0
START_TIMEOUT_S = 30.0
# The first member starts before the others: members that start at the same instant wait for each other (rule 2). The
# settings of the others are written during this time too. They start about 0.12 s after the first one.
HEAD_START_S = 0.06


async def form(performer: Performer, step: FormCluster, observed: Observed) -> None:
    """Start every member that does not run yet, and wait until all are proved healthy (rules 1-3, 11)."""
    idle = [name for name in step.hosts if not _runs_for(observed, name, step.token)]
    if idle:
        await _start_first_time(performer, idle[0], step.token)
        if idle[1:] and len(idle) == len(step.hosts):
            await performer.world.clock.sleep(HEAD_START_S)
        await asyncio.gather(*(_start_first_time(performer, name, step.token) for name in idle[1:]))
    await wait_for_condition(
        performer.world, observed, all_proved(performer.world), FORM_TIMEOUT_S, step.hosts,
        reporter=performer.reporter, doing="waiting for the cluster to form",
    )  # fmt: skip


async def seal(performer: Performer, hosts: tuple[str, ...], observed: Observed, token: str) -> None:
    """Set the marker of every host to `formed`, on all hosts at the same time."""
    spec = performer.world.spec
    commands = {name: seal_commands(spec, spec.host(name), observed, token) for name in hosts}
    await performer.perform_on_each(commands, "SealCluster")


async def record_endpoints(performer: Performer, step: RecordEndpoints, observed: Observed) -> None:
    """Write the endpoints into the markers of all hosts, at the same time."""
    spec = performer.world.spec
    commands = {
        name: record_endpoints_command(step, spec, host_of(spec, observed, name), observed)
        for name in step.hosts
    }
    await performer.perform_on_each(commands, step.kind)


async def start(performer: Performer, name: str, observed: Observed) -> None:
    """Start a stopped member, and wait until it is healthy if the cluster has healthy members.

    If no member is healthy, this one cannot become healthy alone. The health proof then follows after all starts.
    """
    world = performer.world
    await start_unit(performer, name)
    if not healthy(observed):
        await wait_for_condition(
            world, observed, _is_started(name), START_TIMEOUT_S, (name,),
            reporter=performer.reporter, doing="starting etcd", interval_s=0.0,
        )  # fmt: skip
        return
    await wait_until_healthy(performer, name, observed)
    if observed.reachable()[name].is_unproved:
        await forget_previous(performer, name)


async def restart(performer: Performer, step: RestartMember, observed: Observed) -> None:
    """Restart one member: prove the others, transfer leadership, stop, start, prove this member (rules 38-40).

    Without a healthy member there is no quorum to protect, and the restart may restore it. The new binary runs once
    before the member is stopped. If the member is not healthy with new files, the previous files are put back.
    """
    world, name = performer.world, step.host
    layout = layout_of(world.spec, world.spec.host(name))
    await _run_new_binary(performer, step, observed)
    await prepare_restart(performer, step, observed)
    await _stop_and_start(performer, step, observed, restart_commands(layout))
    await verify_restart(performer, step, observed)
    if observed.reachable()[name].is_unproved:
        await prove_served_files(performer, world.spec.host(name), [])
        await forget_previous(performer, name)
    performer.reporter.doing(step.host, "")


async def drain(performer: Performer, name: str, observed: Observed) -> None:
    """Stop one member: prove the others, transfer leadership, stop, and prove the others again (rules 38, 39)."""
    world = performer.world
    await prove_before_stop(world, observed, name)
    await move_leader(performer, name, observed)
    layout = layout_of(world.spec, world.host_spec(name))
    await performer.perform(world.hosts[name], [stop_command(layout)], "DrainMember")
    await prove_others(world, await observe(world), name, state="is stopped")


async def move_clients(performer: Performer, step: MoveClients, observed: Observed) -> None:
    """Restart a member with a pause, and wait until its clients are seen on other members (rule 15)."""
    layout = layout_of(performer.world.spec, performer.world.spec.host(step.host))
    await _stop_and_start(performer, step, observed, pause_commands(layout))
    await wait_for_moved_clients(performer, observed, step.host)


async def _stop_and_start(
    performer: Performer, step: HostStep, observed: Observed, commands: Sequence[RunCommand]
) -> None:
    world, name = performer.world, step.host
    if healthy(observed):
        await prove_before_stop(world, observed, name)
        await move_leader(performer, name, observed)
    await performer.perform(world.hosts[name], commands, step.kind)
    await wait_until_healthy(performer, name, observed)


async def _run_new_binary(performer: Performer, step: RestartMember, observed: Observed) -> None:
    """Run the binary of the next start as user etcd, if it is another one than the member runs."""
    if observed.reachable()[step.host].unit.running_version == step.version:
        return
    layout = layout_of(performer.world.spec, performer.world.spec.host(step.host))
    command = run_binary_command(layout, layout.current, step.version)
    await performer.perform(performer.world.hosts[step.host], [command], step.kind)


def _is_started(name: str) -> Condition:
    """Return a condition: the unit is not stopped any more. The start command returns before systemd starts it."""

    async def reached(observed: Observed) -> str:
        return f"{name}: etcd does not run" if is_stopped(observed, name) else ""

    return reached


def _runs_for(observed: Observed, name: str, token: str) -> bool:
    host = observed.reachable()[name]
    return host.unit.is_running and host.unit.environment.get("ETCD_INITIAL_CLUSTER_TOKEN") == token


async def _start_first_time(performer: Performer, name: str, token: str) -> None:
    """Start a member for the first time, with the settings that only a first start has."""
    spec = performer.world.spec
    host = spec.host(name)
    work = [
        ("FormCluster", form_commands(spec, host, token)),
        ("start", [start_command(layout_of(spec, host))]),
    ]
    await performer.perform_steps(performer.world.hosts[name], work)


async def start_unit(performer: Performer, name: str) -> None:
    spec = performer.world.spec
    host = performer.world.hosts[name]
    await performer.perform(host, [start_command(layout_of(spec, spec.host(name)))], "start")


async def prove_before_stop(world: World, observed: Observed, name: str) -> None:
    """Raise an EtcdupError unless the others have a quorum without this member, and it could connect to them again."""
    await refuse_stop_of_cut_member(world, observed, name)
    await prove_others(world, observed, name)


async def prove_others(world: World, observed: Observed, name: str, state: str = "is not stopped") -> None:
    """Raise an EtcdupError unless the others have a quorum without this member."""
    results = [result for result in await prove_voters(world, observed) if result.name != name]
    faults = [f"{result.name}: {result.why}" for result in results if not result.votes]
    if faults and len(results) - len(faults) < quorum_of(voter_count(observed)):
        raise EtcdupError(
            f"{name} {state}: the other members have no quorum without it",
            detail="\n".join(faults),
            hint="repair these members first; run `etcdup status` to see each member",
        )


async def move_leader(performer: Performer, name: str, observed: Observed) -> None:
    """Transfer leadership to the healthy member that stays and whose log is furthest.

    A failure is only journaled: etcd transfers leadership when it stops, too (rule 39).
    """
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen) or seen.leader_id != seen.member_id:
        return
    others = [
        other
        for other_name, other in healthy(observed).items()
        if other_name != name and other_name not in observed.leaving
    ]
    if not others:
        return
    performer.reporter.doing(name, "transferring leadership")
    target = max(others, key=lambda other: other.applied_index)
    await performer.world.held_lock.confirm()
    try:
        client = await performer.world.etcd(name)
        await client.move_leader(target.member_id, timeout_s=10.0)
    except EtcdupError as error:
        performer.journal.record("leadership was not transferred", {"host": name, "why": error.message})
