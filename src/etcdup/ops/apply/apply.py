"""The loop that every change goes through.

    for each phase: observe again -> plan again -> guard -> commands -> until the outcome is SEEN -> journal

A phase is one step, or a run of steps that disturb nobody, done on all their hosts at once. Nothing is ever
rolled back and nothing is remembered: the plan made from a fresh observation says what is left. That is also
why a kill at any line is harmless: the next apply does the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from etcdup.core.members.membership import departed_hosts
from etcdup.core.observed.model import MemberSilent, Observed
from etcdup.core.plan.phases import phases
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.plan.step_registry import LASTING
from etcdup.core.plan.steps import RestartMember, StartMember
from etcdup.core.planner.guards import refuse_step
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.world.connected_clients import wait_for_rejected_clients
from etcdup.ops.world.health import Health, prove_whole
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe, observe_members
from etcdup.ops.world.perform import Performer, Reporter
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.wait import explain_failure
from etcdup.ops.world.world import World

# A refused connection is tried again ten times a second; the rest is for slow hosts.
ANSWER_S = 5.0
POLL_S = 0.1
BRING_UP = (StartMember, RestartMember)

Confirm = Callable[[RestartMember], Awaitable[None]]


class OutcomeNotObserved(EtcdupError):
    """A step was done, and the plan has it again."""

    def __init__(self, step: Step) -> None:
        super().__init__(
            f"{_step_label(step)} was done, but its outcome cannot be seen: {step.reason}",
            hint="does something else change this host, such as a configuration management tool?",
        )
        self.step = step


async def _confirm_always(step: RestartMember) -> None:
    """Whoever said yes to the plan said yes to its end."""


async def apply(
    world: World,
    plan: Plan,
    planner: Planner,
    reporter: Reporter,
    journal: Journal,
    *,
    confirm: Confirm = _confirm_always,
) -> tuple[Health, ...]:
    """Does what `plan` says and returns the proof of health of every member.

    `confirm` is asked before a step after which there is no way back, and raises to stop there.

    Raises RefusedError where a guard says no before anything was done, PartlyApplied where something was, and
    the step's own error where the first command already failed.
    """

    performer = Performer(world, reporter, journal)
    try:
        observed = await _carry_out(performer, plan, planner, confirm)
        return await finish(world, await _wait_until_answering(world, observed))
    except EtcdupError as error:
        raise _as_partly_applied(performer, error) from error


async def apply_without_proof(
    world: World, plan: Plan, planner: Planner, reporter: Reporter, journal: Journal
) -> Observed:
    """`apply` without the proof at its end: no cluster is left to be healthy, or it is proved in another way.

    Returns what is then seen.
    """
    performer = Performer(world, reporter, journal)
    try:
        return await _carry_out(performer, plan, planner, _confirm_always)
    except EtcdupError as error:
        raise _as_partly_applied(performer, error) from error


async def _carry_out(performer: Performer, plan: Plan, planner: Planner, confirm: Confirm) -> Observed:
    """Do phase by phase, each the first of a fresh plan, until that is empty; then return what was observed.

    The order of the fresh plan counts, not that of the shown plan: the leader, which is restarted last, may change.
    """
    from etcdup.ops.apply.execution import (
        run_phase,  # with all that changes need: most runs have nothing to do
    )

    world = performer.world
    done: dict[tuple[str, ...], Step] = {}
    heard: set[str] = set()
    while True:
        observed = await wait_for_rejected_clients(performer, await observe(world), heard)
        try:
            phase = next_phase(plan, done, planner(observed))
        except OutcomeNotObserved as unseen:
            raise await _explain_not_observed(world, unseen) from None
        if not phase:
            return observed
        _check_guards(world, phase, observed)
        for step in phase:
            if isinstance(step, RestartMember) and step.no_way_back:
                await confirm(step)
        await run_phase(performer, phase, observed, plan.token)
        done |= {step.identity: step for step in phase}


async def _explain_not_observed(world: World, unseen: OutcomeNotObserved) -> EtcdupError:
    """A member that came up and is down again has said why in its log."""
    step = unseen.step
    if not isinstance(step, BRING_UP):
        return unseen
    return await explain_failure(world, (step.host,), f"etcd on {step.host} does not stay up")


async def _wait_until_answering(world: World, observed: Observed) -> Observed:
    """The same, once every etcd that runs answers, or has had the time for it: where certificates were put right
    under a running member, the connection that they had refused is only now tried again."""
    end = world.clock.now() + ANSWER_S
    while world.clock.now() < end and any(_is_mute(observed, name) for name in observed.reachable()):
        await world.clock.sleep(POLL_S)
        observed = await observe_members(world, observed)
    return observed


def _is_mute(observed: Observed, name: str) -> bool:
    return observed.reachable()[name].unit.is_running and isinstance(observed.members[name], MemberSilent)


def _as_partly_applied(performer: Performer, error: EtcdupError) -> EtcdupError:
    if performer.changed == 0 or isinstance(error, PartlyApplied):
        return error
    return PartlyApplied(error.message, detail=error.detail, hint=error.hint)


def next_phase(plan: Plan, done: Mapping[tuple[str, ...], Step], fresh: Plan | Refusal) -> tuple[Step, ...]:
    """The first phase of the fresh plan; empty where nothing is left.

    A step that was done and is wanted again has not had its outcome; a step that the shown plan did not have
    means that the world moved under it.
    """
    if isinstance(fresh, Refusal):
        raise_refusal(fresh)
    left = [step for step in fresh.steps if not (isinstance(step, LASTING) and step.identity in done)]
    shown = {step.identity for step in plan.steps}
    for step in left:
        if step.identity in done:
            raise OutcomeNotObserved(step)
        if step.identity not in shown and not _is_brought_up(step, plan):
            raise RefusedError(
                f"the world has moved since this plan was made: now {_step_label(step)} is needed too ({step.reason})",
                hint="run `etcdup plan` and look again",
            )
    return next(iter(phases(left)), ())


def _is_brought_up(step: Step, plan: Plan) -> bool:
    """Whether the plan starts or restarts this very member: one that keeps failing, and that systemd keeps starting,
    is seen to run at one moment and not to run at the next."""
    return isinstance(step, BRING_UP) and any(
        isinstance(each, BRING_UP) and each.host == step.host for each in plan.steps
    )


def _step_label(step: Step) -> str:
    return f"{step.kind} on {step.host}" if isinstance(step, HostStep) else step.kind


def _check_guards(world: World, steps: Sequence[Step], observed: Observed) -> None:
    """The planner's own guards, on this fresh observation."""
    refused = [reason for step in steps for reason in refuse_step(step, world.spec, observed)]
    if refused:
        raise_refusal(Refusal(world.spec.name, tuple(refused)))


async def finish(world: World, observed: Observed) -> tuple[Health, ...]:
    """The other half of success, beside an empty plan: hosts that were left are forgotten once they are cleared, and
    every host is within reach, every member proved healthy. Raises EtcdupError."""
    for name in departed_hosts(observed):
        if name in observed.reachable():
            await asyncio.to_thread(world.pki.archive_member, name)
    return await prove_whole(world, observed)
