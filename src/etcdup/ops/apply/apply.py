"""Apply a plan: the loop that makes every change.

    for each phase: observe again -> plan again -> guard -> commands -> wait until the outcome is OBSERVED -> journal

A phase is one step, or several steps without disruption. The steps of a phase are done on all their hosts at the same
time. etcdup rolls nothing back and stores no state: the plan from a new observation contains what is left. A kill at
any line is therefore harmless, since the next apply does the same.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from etcdup.core.members.membership import departed_hosts
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.certificate_steps import RevokeCertificates
from etcdup.core.plan.database_steps import DisarmCorruptAlarm, DisarmSpaceAlarm
from etcdup.core.plan.host_steps import InstallFiles, ProveFiles
from etcdup.core.plan.member_steps import MoveClients, RestartMember, StartMember
from etcdup.core.plan.phases import phases
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.step_registry import LASTING
from etcdup.core.planner.guards import refuse_step
from etcdup.errors import EtcdupError, LockLost, PartlyApplied, RefusedError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.connected_clients import wait_for_rejected_clients
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.perform import Performer, Reporter
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.wait import MEMBER_TIMEOUT_S, all_answer, explain_failure, wait_for_condition
from etcdup.ops.world.world import World

# Members retry a failed connection ten times a second. The rest of the time is for slow hosts.
ANSWER_S = 5.0
# Members without a quorum also elect a leader first. On a busy host, several elections can fail.
FOLLOWED_S = 30.0
BRING_UP = (StartMember, RestartMember, MoveClients)

Confirm = Callable[[RestartMember], Awaitable[None]]


class OutcomeNotObserved(EtcdupError):
    """A step was done, and the new plan contains it again."""

    def __init__(self, step: Step) -> None:
        super().__init__(
            f"{_step_label(step)} was done, but its outcome is not observed: {step.reason}",
            hint="check whether another program changes this host, such as a configuration management tool",
        )
        self.step = step


async def _confirm_always(step: RestartMember) -> None:
    """Continue without a question: the confirmation of the plan covers its last steps."""


async def apply(
    world: World,
    plan: Plan,
    planner: Planner,
    reporter: Reporter,
    journal: Journal,
    *,
    confirm: Confirm = _confirm_always,
) -> tuple[Health, ...]:
    """Apply `plan` and return the health proof of every member.

    `confirm` is called before a step that cannot be undone, and raises an error to stop there.

    Raises RefusedError if a guard refuses before any change. Raises PartlyApplied if a later step fails, and the
    step's own error if the first command fails.
    """
    performer = Performer(world, reporter, journal)
    try:
        observed = await _carry_out(performer, plan, planner, confirm)
        return await finish(world, await _wait_until_answering(performer, observed))
    except EtcdupError as error:
        raise _as_partly_applied(performer, error) from error


async def apply_without_proof(
    world: World, plan: Plan, planner: Planner, reporter: Reporter, journal: Journal
) -> Observed:
    """Apply `plan` without the health proof at the end, and return the last observation.

    This is for verbs after which no cluster is left, and for those that prove the cluster in another way.
    """
    performer = Performer(world, reporter, journal)
    try:
        return await _carry_out(performer, plan, planner, _confirm_always)
    except EtcdupError as error:
        raise _as_partly_applied(performer, error) from error


async def _carry_out(performer: Performer, plan: Plan, planner: Planner, confirm: Confirm) -> Observed:
    """Do the first phase of a new plan until a new plan is empty. Return the last observation.

    The order of the new plan counts, not that of the confirmed plan: the leader must be restarted last, and another
    member may have become the leader.
    """
    # The import loads everything that changes need. Most runs have nothing to change.
    from etcdup.ops.apply.execution import run_phase

    world = performer.world
    done: dict[tuple[str, ...], Step] = {}
    heard: set[str] = set()
    awaited: set[str] = set()
    repaired = False
    while True:
        observed = await wait_for_rejected_clients(performer, await observe(world), heard)
        fresh = planner(observed)
        if names := _members_started_by_systemd(plan, fresh, observed) - awaited:
            awaited |= names
            await _wait_for_members(performer, observed, tuple(sorted(names)))
            continue
        if repaired and _needs_members(fresh):
            repaired = False
            await _wait_until_followed(world, observed)
            continue
        try:
            phase = next_phase(plan, done, fresh)
        except OutcomeNotObserved as unseen:
            raise await _explain_not_observed(world, unseen, observed) from None
        if not phase:
            return observed
        _check_guards(world, phase, observed)
        for step in phase:
            if isinstance(step, RestartMember) and step.no_way_back:
                await confirm(step)
        await run_phase(performer, phase, observed, plan.token)
        for step in phase:
            done = still_done(done, step) | {step.identity: step}
        repaired = repaired or any(
            isinstance(step, InstallFiles) and step.proof == "handshake" for step in phase
        )


def still_done(done: Mapping[tuple[str, ...], Step], step: Step) -> dict[tuple[str, ...], Step]:
    """Return the steps that a plan does not contain again after this one. A revocation gives each host a new list."""
    revokes = isinstance(step, RevokeCertificates)
    return {name: each for name, each in done.items() if not (revokes and isinstance(each, InstallFiles))}


def _needs_members(fresh: Plan | Refusal) -> bool:
    """Return whether the next step, or the reason against it, depends on the health of the members."""
    return isinstance(fresh, Refusal) or any(step.disruptive for step in fresh.steps[:1])


async def _wait_until_followed(world: World, observed: Observed) -> None:
    """Wait until every running member is healthy, at most FOLLOWED_S.

    Members that rejected each other's certificates retry their connections, and then follow a leader again.
    """
    running = observed.running().keys()
    await _poll_members(world, observed, lambda latest: running <= healthy(latest).keys(), FOLLOWED_S)


def _members_started_by_systemd(plan: Plan, fresh: Plan | Refusal, observed: Observed) -> set[str]:
    """Return the members of the confirmed plan that need no step any more, because systemd is starting them.

    systemd starts a failed member again by itself, and that start has the new files. Until the member answers, it is
    not healthy, and the guards refuse the steps of the other members. Without a quorum no member can become healthy.
    """
    if not healthy(observed):
        return set()
    left = () if isinstance(fresh, Refusal) else fresh.steps
    names = _hosts_of(plan.steps) - _hosts_of(left)
    return {name for name in names & observed.reachable().keys() if _is_coming_up(observed, name)}


def _hosts_of(steps: Sequence[Step]) -> set[str]:
    return {step.host for step in steps if isinstance(step, HostStep)}


def _is_coming_up(observed: Observed, name: str) -> bool:
    silent = isinstance(observed.members[name], MemberSilent)
    return silent and observed.reachable()[name].unit.is_coming_up


async def _wait_for_members(performer: Performer, observed: Observed, names: tuple[str, ...]) -> None:
    await wait_for_condition(
        performer.world, observed, all_answer(names), MEMBER_TIMEOUT_S, names,
        reporter=performer.reporter, doing="waiting until it responds",
    )  # fmt: skip


async def _explain_not_observed(world: World, unseen: OutcomeNotObserved, observed: Observed) -> EtcdupError:
    """Explain, from its log, why a member that was started is down again."""
    step = unseen.step
    if not isinstance(step, BRING_UP):
        return unseen
    return await explain_failure(world, observed, (step.host,), f"etcd on {step.host} does not stay up")


async def _wait_until_answering(performer: Performer, observed: Observed) -> Observed:
    """Wait until every etcd that runs or is starting answers, and return the new observation.

    A member that this run may have changed gets the time of a start. For other members, return after ANSWER_S in any
    case: after certificates of a running member were replaced, the members retry the connections that had failed.
    """
    world = performer.world
    starting = tuple(name for name in sorted(observed.reachable()) if _is_coming_up(observed, name))
    if performer.changed and starting:
        await _wait_for_members(performer, observed, starting)
        observed = await observe(world)
    if not _is_any_silent(observed):
        return observed
    return await _poll_members(world, observed, lambda latest: not _is_any_silent(latest), ANSWER_S)


async def _poll_members(
    world: World, observed: Observed, is_reached: Callable[[Observed], bool], timeout_s: float
) -> Observed:
    """Observe the members until `is_reached`, or until the time is over. Return the last observation."""

    async def is_over() -> bool:
        nonlocal observed
        observed = await observe_members(world, observed)
        return is_reached(observed)

    await wait_until(world.clock, is_over, timeout_s)
    return observed


def _is_any_silent(observed: Observed) -> bool:
    return any(_runs_silently(observed, name) for name in observed.reachable())


def _runs_silently(observed: Observed, name: str) -> bool:
    return observed.reachable()[name].unit.is_running and isinstance(observed.members[name], MemberSilent)


def _as_partly_applied(performer: Performer, error: EtcdupError) -> EtcdupError:
    """Return the error to raise. A lost lock is the cause of any other error: another run changed the hosts."""
    try:
        performer.world.held_lock.check()
    except LockLost as lost:
        return lost
    if performer.changed == 0 or isinstance(error, PartlyApplied):
        return error
    partly = PartlyApplied(error.message, detail=error.detail, hint=error.hint)
    partly.resumes = error.resumes
    return partly


def next_phase(plan: Plan, done: Mapping[tuple[str, ...], Step], fresh: Plan | Refusal) -> tuple[Step, ...]:
    """Return the first phase of the new plan, or no steps if nothing is left.

    Raises OutcomeNotObserved if the new plan contains a step that was done. Raises RefusedError if it contains a step
    that the confirmed plan does not have.
    """
    if isinstance(fresh, Refusal):
        raise_refusal(fresh)
    shown = {step.identity for step in plan.steps}
    left = [
        step
        for step in fresh.steps
        if not (isinstance(step, LASTING) and step.identity in done)
        # An alarm can be raised, or seen, only after the plan was confirmed. The next run disarms it.
        and (not isinstance(step, DisarmSpaceAlarm | DisarmCorruptAlarm) or step.identity in shown)
    ]
    for step in left:
        if step.identity in done:
            raise OutcomeNotObserved(step)
        done = still_done(done, step)
        if step.identity not in shown and not _is_brought_up(step, plan):
            raise RefusedError(
                f"the plan is stale: {_step_label(step)} is now also needed ({step.reason})",
                hint="run the same command again: it shows the new plan",
            )
    return next(iter(phases(left)), ())


def _is_brought_up(step: Step, plan: Plan) -> bool:
    """Return whether the plan starts or restarts this member.

    A member that keeps failing, and that systemd keeps starting, runs in one observation and does not run in the next.
    So the confirmed plan may start it, and the new plan may restart it. A plan that restarts a member may also have to
    move its clients first: they can connect at any time. A proof of files changes nothing, except that it puts the
    previous files back if the new ones do not work.
    """
    if isinstance(step, ProveFiles):
        return True
    return isinstance(step, BRING_UP) and any(
        isinstance(each, BRING_UP) and each.host == step.host for each in plan.steps
    )


def _step_label(step: Step) -> str:
    """Return the step in words, for example `start member on infra2`."""
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", step.kind).lower()
    return f"`{words}` on {step.host}" if isinstance(step, HostStep) else f"`{words}`"


def _check_guards(world: World, steps: Sequence[Step], observed: Observed) -> None:
    """Check the planner's own guards on the new observation."""
    refused = [reason for step in steps for reason in refuse_step(step, world.spec, observed)]
    if refused:
        raise_refusal(Refusal(world.spec.name, tuple(dict.fromkeys(refused))))


async def finish(world: World, observed: Observed) -> tuple[Health, ...]:
    """Archive the certificates of former hosts that are cleared, and prove the whole cluster.

    Raises EtcdupError if a host is unreachable or a member is not healthy.
    """
    if world.lock is not None:
        world.lock.check()
    for name in departed_hosts(observed):
        if name in observed.reachable():
            await asyncio.to_thread(world.pki.archive_member, name)
    return await prove_whole(world, observed)
