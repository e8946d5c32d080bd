"""`etcdup adopt --take-over` and `etcdup adopt --give-back`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etcdup.cli.adopt.write import COMPARING
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change
from etcdup.cli.run.session import Session
from etcdup.core.adopt.foreign_unit import ForeignMember
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.adopt.take_over import Foreign, plan_give_back, plan_take_over
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import UsageError
from etcdup.ops.adopt.equal_data import require_equal_data
from etcdup.ops.adopt.take_over import inspect_foreign, prove_given_back, read_switch_state
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class Permits:
    """What the operator permits: to move manifests of static pods, and to end http for clients."""

    static_pods: bool
    consumers_have_tls: bool

    @property
    def options(self) -> tuple[str, ...]:
        pods = ("--static-pods",) if self.static_pods else ()
        return pods + (("--consumers-have tls",) if self.consumers_have_tls else ())


def take_over(file: Path, names: Sequence[str], permits: Permits, *, yes: bool, as_json: bool) -> int:
    """Convert the members of these hosts, or of all hosts that wait."""
    session = Session.begin(file)
    chosen = _known(file, session.spec, names)
    run = ChangeRun(session, " ".join(("adopt --take-over", *permits.options, *names)), as_json=as_json)
    return run.run_to_exit(_take_over(run, chosen, permits, yes=yes))


def give_back(file: Path, name: str, *, yes: bool, as_json: bool) -> int:
    """Return the member of one host to its old unit."""
    session = Session.begin(file)
    _known(file, session.spec, (name,))
    run = ChangeRun(session, f"adopt --give-back {name}", as_json=as_json)
    return run.run_to_exit(_give_back(run, name, yes=yes))


def _known(file: Path, spec: Spec, names: Sequence[str]) -> tuple[str, ...]:
    known = tuple(host.name for host in spec.hosts)
    for name in names:
        if name not in known:
            raise UsageError(f"{file} has no host {name}", hint=f"use one of its hosts: {', '.join(known)}")
    return tuple(names) or known


async def _take_over(run: ChangeRun, names: Sequence[str], permits: Permits, *, yes: bool) -> None:
    session, spec = run.session, run.session.spec
    async with session.world() as world:
        world.reads_activity = True
        first = await session.observe(world)
        foreign = await _inspect(world, first, names)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_take_over(
                spec,
                observed,
                names,
                foreign,
                static_pods=permits.static_pods,
                consumers_have_tls=permits.consumers_have_tls,
            )

        plan = make_plan(run, planner, first)
        if plan.is_empty:
            _say_nothing_to_do(run, plan, "no host waits for its take-over")
            return
        await _require_equal_hashes(run, world, first, foreign)
        question = "Each of these members restarts once, one after the other. Take them over?"
        change = Change(planner, None if yes else YesNo(question), after=_after)
        if (results := await run_change(run, world, change, plan, first)) is not None:
            run.report_health(results)


async def _give_back(run: ChangeRun, name: str, *, yes: bool) -> None:
    session, spec = run.session, run.session.spec
    async with session.world() as world:
        first = await session.observe(world)
        begun = name in world.hosts and (await read_switch_state(world, name)).has_begun

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_give_back(spec, observed, name, begun)

        plan = make_plan(run, planner, first)
        if plan.is_empty:
            async with run.terminal.wait_notice(f"waiting until the member on {name} is healthy"):
                await prove_given_back(world, first, name)
            _say_nothing_to_do(
                run, plan, f"the member on {name} runs as before its take-over, and is healthy"
            )
            return
        question = f"The member on {name} restarts, and runs as before its take-over. Give it back?"
        change = Change(planner, None if yes else YesNo(question), prove=False)
        if await run_change(run, world, change, plan, first) is not None:
            run.terminal.say(f"the member on {name} runs as before its take-over again")


async def _inspect(world: World, observed: Observed, names: Sequence[str]) -> Foreign:
    """Return what runs etcd on the hosts that wait, all at the same time."""
    waiting = [name for name in observed.adopted if name in names and name in world.hosts]
    found = await asyncio.gather(*(inspect_foreign(world, name) for name in waiting))
    return dict(zip(waiting, found, strict=True))


async def _require_equal_hashes(run: ChangeRun, world: World, observed: Observed, foreign: Foreign) -> None:
    """Compare the data of all members, before the first of them restarts with a corruption check."""
    if any(isinstance(each, ForeignMember) and each.has_begun for each in foreign.values()):
        return
    async with run.terminal.wait_notice(COMPARING):
        await require_equal_data(world, observed)


def _say_nothing_to_do(run: ChangeRun, plan: Plan, why: str) -> None:
    if run.report is not None:
        run.report.plan = plan
    run.terminal.say(f"nothing to do: {why}")


def _after(plan: Plan) -> list[str]:
    if any(step.kind == "FinishTakeOver" for step in plan.steps):
        return [
            f"The files of the old tool are in {SWITCH_FOLDER}/old on each host. No file was deleted.",
            "",
        ]
    return [
        "`etcdup adopt --give-back NAME` returns a member to its old unit until all hosts are taken over.",
        "",
    ]
