"""`etcdup maintain defrag`."""

from pathlib import Path

from etcdup.cli.maintain.sizes import report_sizes
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change, typed_options
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.maintain.defrag import members_due, plan_defrag
from etcdup.core.members.space import MUCH_FREE, is_out_of_space, reclaimable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.units import WrongValue, parse_size, show_size
from etcdup.errors import UsageError
from etcdup.ops.world.observe import observe_members
from etcdup.ops.world.world import World


def defragment_members(
    file: Path, names: tuple[str, ...], *, every: bool, over: str, yes: bool, as_json: bool
) -> int:
    """Defragment the members that are due, or those with these names."""
    session = Session.begin(file)
    size = _size(over)
    wanted: tuple[str | None, ...] = names or ((None,) if every else ())
    chosen = tuple(host for name in wanted for host in chosen_hosts(session.spec, file, name))
    limit = None if chosen or size == MUCH_FREE else over
    verb = " ".join(("maintain defrag", *names)) + typed_options({"all": every, "over": limit})
    run = ChangeRun(session, verb, as_json=as_json)
    return run.run_to_exit(_defragment(run, chosen, size, every=every, yes=yes))


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except WrongValue as wrong:
        raise UsageError(f"--over: {wrong}", hint=wrong.hint) from None


async def _defragment(run: ChangeRun, names: tuple[str, ...], over: int, *, every: bool, yes: bool) -> None:
    session, spec = run.session, run.session.spec
    async with session.world() as world:
        world.reads_activity = True
        first = await session.observe(world)
        chosen = names or members_due(spec, first, over)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_defrag(spec, observed, chosen, every=every)

        plan = make_plan(run, planner, first)
        if plan.is_empty:
            _report_nothing_to_do(run, plan, first)
            return
        count = count_text(len(plan.steps), "member")
        question = YesNo(f"The clients of a member wait while it is being defragmented. Defragment {count}?")
        change = Change(planner, None if yes else question, prove=False)
        if await run_change(run, world, change, plan, first) is not None:
            await _report(run, world, plan, first)


def _report_nothing_to_do(run: ChangeRun, plan: Plan, observed: Observed) -> None:
    if run.report is not None:
        run.report.plan = plan
    for name, seen in sorted(observed.answering().items()):
        run.terminal.say(f"{name}: {show_size(reclaimable(seen))} of {show_size(seen.db_size)} can be freed")
    run.terminal.say("nothing to do: `--all` defragments members that would free little, too")


async def _report(run: ChangeRun, world: World, plan: Plan, before: Observed) -> None:
    observed = await observe_members(world, before)
    report_sizes(run, plan, before, observed)
    if run.report is None and is_out_of_space(observed):
        run.terminal.say(
            "the NOSPACE alarm is still active: run `etcdup maintain fix-space`, which disarms it"
        )
