"""The loop that every change goes through.

    for each phase: observe again -> plan again -> guard -> commands -> until the outcome is SEEN -> journal

A phase is one step, or a run of steps that disturb nobody, done on all their hosts at once. Nothing is ever
rolled back and nothing is remembered: the plan made from a fresh observation says what is left. That is also
why a kill at any line is harmless: the next apply does the same.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NoReturn, TypeVar

from etcdup.core.commands import commands_of
from etcdup.core.guards import against
from etcdup.core.observed import Observed, Unreachable
from etcdup.core.steps import (
    FormCluster,
    HostStep,
    IssueCertificates,
    ObtainBinaries,
    Plan,
    Refusal,
    RestartMember,
    SealCluster,
    StartMember,
    Step,
)
from etcdup.errors import EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.cluster import form, restart, seal, start
from etcdup.ops.health import Health, prove
from etcdup.ops.journal import Journal
from etcdup.ops.observe import observe
from etcdup.ops.perform import Performer, Reporter
from etcdup.ops.world import World

T = TypeVar("T")
QUIET = (HostStep, IssueCertificates, ObtainBinaries)

Planner = Callable[[Observed], Plan | Refusal]


async def apply(
    world: World, plan: Plan, planner: Planner, reporter: Reporter, journal: Journal
) -> tuple[Health, ...]:
    """Does what `plan` says and returns the proof of health of every member.

    Raises RefusedError where a guard says no before anything was done, PartlyApplied where something was, and
    the step's own error where the first command already failed.
    """

    async def proved() -> tuple[Health, ...]:
        return await prove_whole(world, await _nothing_left(world, planner))

    return await _carry_out(Performer(world, reporter, journal), plan, planner, proved)


async def retire(
    world: World, plan: Plan, planner: Planner, reporter: Reporter, journal: Journal
) -> Observed:
    """`apply` for a plan at whose end there is no cluster left to be healthy. Returns what is then seen."""

    async def looked() -> Observed:
        return await _nothing_left(world, planner)

    return await _carry_out(Performer(world, reporter, journal), plan, planner, looked)


async def _carry_out(
    performer: Performer, plan: Plan, planner: Planner, finish: Callable[[], Awaitable[T]]
) -> T:
    world = performer.world
    done: list[Step] = []
    try:
        for phase in phases(plan.steps):
            observed = await observe(world)
            left = _still_wanted(plan, phase, done, planner(observed))
            _guard(world, left, observed)
            await _do(performer, left, observed, plan.token)
            done += phase
        return await finish()
    except EtcdupError as error:
        if performer.changed == 0 or isinstance(error, PartlyApplied):
            raise
        raise PartlyApplied(
            error.message,
            detail=error.detail,
            hint=error.hint or "run the same apply again: it goes on from here",
        ) from error


def phases(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Runs of steps that disturb nobody and may share one look at the world. Every other step stands alone."""
    together: list[tuple[Step, ...]] = []
    for quiet, run in groupby(steps, key=lambda step: isinstance(step, QUIET) and not step.disruptive):
        same = tuple(run)
        together += [same] if quiet else [(step,) for step in same]
    return together


def raise_refusal(refusal: Refusal) -> NoReturn:
    """Every reason of a refusal, as one error."""
    lines = [reason.message for reason in refusal.reasons]
    hints = dict.fromkeys(reason.hint for reason in refusal.reasons if reason.hint)
    message = (
        lines[0] if len(lines) == 1 else f"cluster {refusal.cluster}: {len(lines)} things stand against it"
    )
    raise RefusedError(message, detail="" if len(lines) == 1 else "\n".join(lines), hint="\n".join(hints))


def _still_wanted(plan: Plan, phase: tuple[Step, ...], done: list[Step], fresh: Plan | Refusal) -> list[Step]:
    """The steps of this phase that the fresh plan still has.

    A step that was done and is wanted again has not had its outcome; a step that the shown plan did not have
    means that the world moved under it.
    """
    if isinstance(fresh, Refusal):
        raise_refusal(fresh)
    for step in fresh.steps:
        # An archive in the cache serves installations that are still to come, so it stays in their plan.
        if not isinstance(step, ObtainBinaries) and _identity(step) in {_identity(each) for each in done}:
            raise EtcdupError(
                f"{_named(step)} was done, but its outcome cannot be seen: {step.reason}",
                hint="does something else change this host, such as a configuration management tool?",
            )
        if _identity(step) not in {_identity(each) for each in plan.steps}:
            raise RefusedError(
                f"the world has moved since this plan was made: now {_named(step)} is needed too ({step.reason})",
                hint="run `etcdup plan` and look again",
            )
    wanted = {_identity(step): step for step in fresh.steps}
    return [wanted[_identity(step)] for step in phase if _identity(step) in wanted]


def _identity(step: Step) -> tuple[str, str]:
    return (step.kind, step.host if isinstance(step, HostStep) else "")


def _named(step: Step) -> str:
    return f"{step.kind} on {step.host}" if isinstance(step, HostStep) else step.kind


def _guard(world: World, steps: list[Step], observed: Observed) -> None:
    """The planner's own guards, on this fresh observation."""
    refused = [reason for step in steps for reason in against(step, world.spec, observed)]
    if refused:
        raise_refusal(Refusal(world.spec.name, tuple(refused)))


async def _do(performer: Performer, steps: list[Step], observed: Observed, token: str) -> None:
    for step in steps:
        performer.reporter.step(step, "doing")
    try:
        await _dispatch(performer, steps, observed, token)
    except BaseException:
        for step in steps:
            performer.reporter.step(step, "failed")
        raise
    for step in steps:
        performer.reporter.step(step, "done")


async def _dispatch(performer: Performer, steps: list[Step], observed: Observed, token: str) -> None:
    world = performer.world
    match steps:
        case []:
            return
        case [FormCluster() as step]:
            await form(performer, step, observed)
        case [SealCluster(hosts=hosts)]:
            await seal(performer, hosts, token)
        case [StartMember(host=host)]:
            await start(performer, host)
        case [RestartMember(host=host)]:
            await restart(performer, host, observed)
        case _:
            await _here(performer, steps, observed)
            # What a certificate file holds is known only now that it was issued.
            fresh = replace(observed, pki=world.pki.see())
            await _on_hosts(performer, [step for step in steps if isinstance(step, HostStep)], fresh, token)


async def _here(performer: Performer, steps: list[Step], observed: Observed) -> None:
    """What is done on the operator's own machine, before any host is touched."""
    world = performer.world
    for step in steps:
        match step:
            case IssueCertificates(roles=roles):
                performer.reporter.doing("operator", "issuing certificates")
                await asyncio.to_thread(world.pki.issue, roles, observed.at)
            case ObtainBinaries(arches=arches):
                assert world.binaries is not None
                for arch in arches:
                    await world.archive(world.binaries, arch)
    performer.reporter.doing("operator", "")


async def _on_hosts(performer: Performer, steps: list[HostStep], observed: Observed, token: str) -> None:
    """Each host's steps in order, all hosts at once. A host that fails does not stop the others half-way."""
    by_host: dict[str, list[HostStep]] = {}
    for step in steps:
        by_host.setdefault(step.host, []).append(step)
    results = await asyncio.gather(
        *(_one_host(performer, name, own, observed, token) for name, own in by_host.items()),
        return_exceptions=True,
    )
    raise_together([result for result in results if isinstance(result, BaseException)])


async def _one_host(
    performer: Performer, name: str, steps: list[HostStep], observed: Observed, token: str
) -> None:
    for step in steps:
        actions = commands_of(step, performer.world.spec, observed, token)
        await performer.perform(performer.world.hosts[name], actions, step.kind)


def raise_together(errors: Sequence[BaseException]) -> None:
    """Several hosts' errors as one; anything that is not an EtcdupError goes first and alone."""
    for error in errors:
        if not isinstance(error, EtcdupError):
            raise error
    known = [error for error in errors if isinstance(error, EtcdupError)]
    if len(known) == 1:
        raise known[0]
    if known:
        lines = [f"{error.message}\n{error.detail}".strip() for error in known]
        raise EtcdupError(f"{len(known)} hosts failed", detail="\n".join(lines), hint=known[0].hint)


async def _nothing_left(world: World, planner: Planner) -> Observed:
    """The first half of success: an empty plan on a fresh observation."""
    observed = await observe(world)
    left = planner(observed)
    if isinstance(left, Refusal):
        raise_refusal(left)
    elif left.steps:
        step = left.steps[0]
        raise EtcdupError(f"{_named(step)} is still wanted after everything was done: {step.reason}")
    return observed


async def prove_whole(world: World, observed: Observed) -> tuple[Health, ...]:
    """The other half: every host within reach and every member proved healthy. Raises EtcdupError."""
    gone = [seen for seen in observed.hosts.values() if isinstance(seen, Unreachable)]
    results = await prove(world, observed)
    sick = [f"{result.name}: {result.why}" for result in results if not result.ok]
    sick += [f"{host.host} cannot be reached: {host.why}" for host in gone]
    if sick:
        raise EtcdupError(
            "the cluster is not healthy" if len(sick) > 1 else f"the cluster is not healthy: {sick[0]}",
            detail="\n".join(sick) if len(sick) > 1 else "",
            hint="`etcdup status` shows each member",
        )
    return results
