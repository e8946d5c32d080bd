"""Take over one member, or give it back: a script on the host does the switch, and etcdup waits for its end."""

from etcdup.core.adopt.foreign_unit import ForeignMember, foreign_member
from etcdup.core.adopt.model import Unreadable
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.refusals import refuse_unreadable
from etcdup.core.adopt.scripts import processes_argv
from etcdup.core.adopt.switch_commands import (
    begin_command,
    check_command,
    finish_commands,
    give_back_command,
    prepare_commands,
    stage_command,
)
from etcdup.core.adopt.switch_script import READY_S, SWITCH_UNIT
from etcdup.core.adopt.switch_state import (
    SWITCH_FOLDER,
    SwitchState,
    UnreadableSwitch,
    parse_state,
    state_argv,
)
from etcdup.core.adopt.take_over import refuse_switch
from etcdup.core.host.actions import HostAction
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import FinishTakeOver, GiveBackMember, TakeOverMember
from etcdup.core.plan.plan import Refusal, Refused
from etcdup.core.plan.step import HostStep
from etcdup.core.spec.layout import layout_of
from etcdup.errors import EtcdupError
from etcdup.ops.adopt.inspect_hosts import INSPECTION_BYTES, INSPECTION_TIMEOUT_S
from etcdup.ops.members.lifecycle import move_leader, prove_before_stop
from etcdup.ops.members.proof import wait_until_healthy
from etcdup.ops.polling import wait_until
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.wait import MEMBER_TIMEOUT_S, one_proved, wait_for_condition
from etcdup.ops.world.world import World

# The script stops the old member, changes the owner of its data, and waits for the new one. It may do so twice.
SWITCH_TIMEOUT_S = 3 * READY_S
POLL_S = 1.0
LOG_LINES = 12


async def take_over(performer: Performer, step: TakeOverMember, observed: Observed, token: str) -> None:
    """Switch one member to the unit of etcdup, and prove that it is the same member."""
    world, name = performer.world, step.host
    before = observed.members.get(name)
    state = await read_switch_state(world, name)
    if not state.has_begun:
        await _prepare(performer, step, observed, token)
        fresh = await _leave_quorum(performer, step, observed)
        before = fresh.members.get(name)
    if state.stage != "new":
        await performer.perform(world.hosts[name], [begin_command()], step.kind)
        state = await _wait_for_end(performer, name, "switching to the unit of etcdup")
    await wait_until_healthy(performer, name, observed)
    if state.must_run == "old":
        raise await _not_switched(world, name, state)
    await _require_same_member(world, name, before)
    host = world.spec.host(name)
    await performer.perform(
        world.hosts[name], [stage_command(world.spec, host, observed, "taken")], step.kind
    )


async def give_back(performer: Performer, step: GiveBackMember, observed: Observed) -> None:
    """Switch one member back to its old unit, and prove that it is healthy.

    The marker is first. So after a kill, `--take-over` counts the host as one that waits, and does not finish.
    """
    world, name = performer.world, step.host
    state = await read_switch_state(world, name)
    if state.stage == "none":
        hint = "run `etcdup adopt --take-over` again: it finishes"
        raise EtcdupError(f"{name} cannot be given back: the last step of the take-over has begun", hint=hint)
    if state.stage == "new":
        await _leave_quorum(performer, step, observed)
    marker = stage_command(world.spec, world.spec.host(name), observed, "waiting")
    # A power cut can follow the request, before systemd has the script. A script that runs is not started again.
    begin = begin_command() if state.stage == "returning" else give_back_command()
    actions: list[HostAction] = [marker] if state.stage == "old" else [marker, begin]
    await performer.perform(world.hosts[name], actions, step.kind)
    await _wait_for_end(performer, name, "switching to the old unit")
    await wait_until_healthy(performer, name, observed)


async def prove_given_back(world: World, observed: Observed, name: str) -> None:
    """Prove the member of a host that has its old unit. A run that was killed has not done this."""
    await wait_for_condition(world, observed, one_proved(world, name), MEMBER_TIMEOUT_S, (name,))


async def finish_take_over(
    performer: Performer, step: FinishTakeOver, observed: Observed, token: str
) -> None:
    """Write the final settings on all hosts, and then the markers: from there on, the ordinary plan counts."""
    spec, hosts = performer.world.spec, observed.reachable()
    names = [host.name for host in spec.hosts if host.name in hosts]
    await performer.perform_on_each(
        {name: finish_commands(spec, spec.host(name), observed, token) for name in names}, step.kind
    )
    await performer.perform_on_each(
        {name: [stage_command(spec, spec.host(name), observed, "")] for name in step.hosts}, step.kind
    )


async def inspect_foreign(world: World, name: str) -> ForeignMember | tuple[Refused, ...]:
    """Return what runs etcd on a host that waits, or why it cannot be taken over. Raise RemoteError."""
    host = world.spec.host(name)
    state = await read_switch_state(world, name)
    result = await world.hosts[name].run(
        processes_argv(), timeout_s=INSPECTION_TIMEOUT_S, most_bytes=INSPECTION_BYTES
    )
    try:
        first = parse_processes(name, result.check().stdout)
        return foreign_member(host, layout_of(world.spec, host), first, state)
    except Unreadable as fault:
        return (refuse_unreadable(name, str(fault)),)


async def read_switch_state(world: World, name: str) -> SwitchState:
    """Return how far the switch of a host is. Raise EtcdupError if the host prints something else."""
    result = await world.hosts[name].run(state_argv())
    try:
        return parse_state(result.check().stdout)
    except UnreadableSwitch as fault:
        hint = f"check {SWITCH_FOLDER} on {name}"
        raise EtcdupError(f"{name}: the state of the take-over is not readable: {fault}", hint=hint) from None


async def _prepare(performer: Performer, step: TakeOverMember, observed: Observed, token: str) -> None:
    """Write everything that the switch needs. The old member is not changed."""
    world, name = performer.world, step.host
    found = await inspect_foreign(world, name)
    if isinstance(found, tuple):
        raise_refusal(Refusal(world.spec.name, found))
    host = world.spec.host(name)
    fresh = observed.with_pki(world.pki.observe())
    actions = [
        *prepare_commands(world.spec, host, fresh, token, found),
        check_command(layout_of(world.spec, host), found),
    ]
    await performer.perform(world.hosts[name], actions, step.kind)


async def _leave_quorum(performer: Performer, step: HostStep, observed: Observed) -> Observed:
    """Transfer the leadership, check the guard on a new observation, and prove that the member can stop."""
    world, name = performer.world, step.host
    await move_leader(performer, name, observed)
    fresh = await observe(world)
    if reasons := refuse_switch(name, fresh):
        raise_refusal(Refusal(world.spec.name, reasons))
    await prove_before_stop(world, fresh, name)
    return fresh


async def _wait_for_end(performer: Performer, name: str, doing: str) -> SwitchState:
    """Wait until the script on the host has ended. It continues even if etcdup does not wait any more."""
    world = performer.world
    performer.reporter.doing(name, doing)
    state = await read_switch_state(world, name)

    async def has_ended() -> bool:
        nonlocal state
        world.held_lock.check()
        state = await read_switch_state(world, name)
        return state.has_ended

    if not await wait_until(world.clock, has_ended, SWITCH_TIMEOUT_S, POLL_S):
        hint = f"run `journalctl -u {SWITCH_UNIT}` on {name}. The script continues: run the same command again later"
        raise EtcdupError(f"{name}: the switch has not ended after {SWITCH_TIMEOUT_S} s", hint=hint)
    performer.reporter.doing(name, "")
    return state


async def _not_switched(world: World, name: str, state: SwitchState) -> EtcdupError:
    """Return the error of a switch after which the old member runs, with the log of the new one."""
    result = await world.hosts[name].run(("tail", "-n", str(LOG_LINES), f"{SWITCH_FOLDER}/log"))
    why = state.why or "it was given back"
    return EtcdupError(
        f"{name} was not taken over, and runs as before again: {why}",
        detail=result.stdout.strip(),
        hint="correct the cause, for example a setting of cluster.yaml. Then run `etcdup adopt --take-over` again",
    )


async def _require_same_member(world: World, name: str, before: object) -> None:
    """Raise EtcdupError if the member has another ID than before the switch."""
    seen = (await observe(world)).members.get(name)
    if not isinstance(before, MemberSeen) or not isinstance(seen, MemberSeen):
        return
    if (seen.member_id, seen.cluster_id) != (before.member_id, before.cluster_id):
        raise EtcdupError(
            f"{name} is member {seen.member_id:x} of cluster {seen.cluster_id:x} after its take-over; before, it was "
            f"{before.member_id:x} of {before.cluster_id:x}",
            hint=f"run `etcdup adopt --give-back {name}`",
        )
