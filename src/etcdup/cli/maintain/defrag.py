"""`etcdup maintain defrag`."""

from dataclasses import replace
from pathlib import Path

from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.maintain.sizes import is_defrag, report_sizes
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change, typed_options
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.maintain.defrag import members_due, plan_defrag
from etcdup.core.members.space import FREE_SHARE, LITTLE_FREE, MUCH_FREE, is_out_of_space, reclaimable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.offline_defrag import plan_offline_defrag
from etcdup.core.spec.units import WrongValue, parse_size, show_size
from etcdup.errors import UsageError
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.world import World


def defragment_members(
    file: Path, names: tuple[str, ...], *, every: bool, over: str, offline: bool, yes: bool, as_json: bool
) -> int:
    """Defragment the members that are due, or those with these names. `offline`: while their etcd is stopped."""
    session = Session.begin(file)
    size = _size(over)
    wanted: tuple[str | None, ...] = names or ((None,) if every else ())
    chosen = tuple(host for name in wanted for host in chosen_hosts(session.spec, file, name))
    limit = None if chosen or size == MUCH_FREE else over
    verb = " ".join(("maintain defrag", *names)) + typed_options(
        {"all": every, "over": limit, "offline": offline}
    )
    run = ChangeRun(session, verb, as_json=as_json)
    if offline:
        check_tls_files(session)
        return run.run_to_exit(_defragment_offline(run, chosen, size, every=every, yes=yes))
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
        first = session.require_formed(await session.observe(world))
        chosen = names or members_due(spec, first, over)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_defrag(spec, observed, chosen, every=every)

        effect = "The clients of a member wait while it is being defragmented"
        await _carry_out(
            run, world, first, Change(planner, None, prove=False), effect, _why_not(names, over), yes=yes
        )


async def _defragment_offline(
    run: ChangeRun, names: tuple[str, ...], over: int, *, every: bool, yes: bool
) -> None:
    session, token = run.session, run.session.generate_token()
    async with session.world() as world:
        world.reads_activity = True
        first = session.require_formed(await session.observe_with_lock(world))
        first = await session.resolve_binaries(world, first)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_offline_defrag(session.spec, observed, token, names, over, every=every)

        effect = "Each member is stopped while it is being defragmented, one after the other"
        await _carry_out(run, world, first, Change(planner, None), effect, _why_not(names, over), yes=yes)


def _why_not(names: tuple[str, ...], over: int) -> str:
    """Return why no member is due, if none is."""
    if names:
        return f"{', '.join(names)} would free less than {show_size(LITTLE_FREE)}"
    least = f"{show_size(max(over, LITTLE_FREE))} and {round(100 * FREE_SHARE)} % of its file"
    return f"no member would free {least}"


async def _carry_out(
    run: ChangeRun, world: World, first: Observed, change: Change, effect: str, why_not: str, *, yes: bool
) -> None:
    plan = make_plan(run, change.planner, first)
    if plan.is_empty:
        _report_nothing_to_do(run, plan, first, why_not)
        return
    if not yes:
        count = count_text(sum(is_defrag(step) for step in plan.steps), "member")
        change = replace(change, confirm=YesNo(f"{effect}. Defragment {count}?"))
    results = await run_change(run, world, change, plan, first)
    if results is None:
        return
    if change.prove:
        run.report_health(results)
    await _report(run, world, plan, first)


def _report_nothing_to_do(run: ChangeRun, plan: Plan, observed: Observed, why_not: str) -> None:
    if run.report is not None:
        run.report.plan = plan
    for name, seen in sorted(observed.answering().items()):
        run.terminal.say(f"{name}: {show_size(reclaimable(seen))} of {show_size(seen.db_size)} can be freed")
    run.terminal.say(f"nothing to do: {why_not}. With `--all`, members that free less are defragmented, too")


async def _report(run: ChangeRun, world: World, plan: Plan, before: Observed) -> None:
    observed = await observe_members(world, before)
    report_sizes(run, plan, before, observed)
    if run.report is None and is_out_of_space(observed):
        run.terminal.say(
            "the NOSPACE alarm is still active: run `etcdup maintain fix-space`, which disarms it"
        )
