"""`etcdup maintain fix-space`."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from etcdup.cli.maintain.sizes import report_sizes
from etcdup.cli.run.change import (
    Change,
    ChangeRun,
    YesNo,
    apply_change,
    confirm_change,
    make_plan,
    typed_options,
)
from etcdup.cli.run.session import Session
from etcdup.core.backups.backups import HASH_BYTES
from etcdup.core.maintain.causes import cause_of, explain_cause, reasons_to_return
from etcdup.core.maintain.defrag import refuse_any_defrag
from etcdup.core.maintain.fix_space import (
    Measured,
    is_short_of_space,
    measure,
    members_to_shrink,
    plan_fix_space,
    refuse_without_effect,
)
from etcdup.core.members.space import quota_of
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import CompactHistory, DefragmentMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.units import WrongValue, parse_duration, show_size
from etcdup.errors import UsageError
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.maintain.space import save_before
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World

# Clients that watch are seldom further behind.
_HISTORY_S = 300


def fix_space(file: Path, keep_history: str | None, *, yes: bool, as_json: bool) -> int:
    """Free space in a database that is full. No key is deleted."""
    session = Session.begin(file)
    keep_s = None if keep_history is None else _seconds(keep_history)
    verb = f"maintain fix-space{typed_options({'keep-history': keep_history})}"
    run = ChangeRun(session, verb, as_json=as_json)
    return run.run_to_exit(_fix(run, keep_s, yes=yes))


def _seconds(text: str) -> int:
    try:
        return parse_duration(int(text) if text.isdecimal() else text)
    except WrongValue as wrong:
        raise UsageError(f"--keep-history: {wrong}", hint=wrong.hint) from None


async def _fix(run: ChangeRun, keep_s: int | None, *, yes: bool) -> None:
    session, spec = run.session, run.session.spec
    async with session.world() as world:
        world.reads_activity = True
        first = session.require_formed(await session.observe(world))
        # A snapshot of a cluster that cannot be repaired now would be of no use.
        if reasons := refuse_any_defrag(spec, first):
            raise_refusal(Refusal(spec.name, reasons))
        if not is_short_of_space(spec, first):
            _report_nothing_to_do(run, first)
            return
        path = await _save_snapshot(session, world, first)
        kept = False
        try:
            measured = await _measure(session, path, keep_s)
            plan, change = _plan(run, first, measured, path, yes=yes)
            if not await confirm_change(run, change, plan):
                return
            if kept := _is_compacted(plan):
                run.terminal.say(f"the data with its history is saved in {path}; etcdup does not delete it")
        finally:
            if not kept:
                path.unlink(missing_ok=True)
        results = await apply_change(run, world, change, plan, first)
        report_sizes(run, plan, first, await observe_members(world, first))
        run.report_health(results)


def _plan(
    run: ChangeRun, first: Observed, measured: Measured, path: Path, *, yes: bool
) -> tuple[Plan, Change]:
    spec, space = run.session.spec, measured.space
    chosen = members_to_shrink(spec, first, measured)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_fix_space(spec, observed, measured, chosen)

    if run.report is not None:
        run.report.more["space"] = {"cause": cause_of(space), "explanation": explain_cause(space)}
    plan = make_plan(run, planner, first)
    if plan.is_empty:
        raise_refusal(Refusal(spec.name, refuse_without_effect(spec, first, measured)))
    return plan, Change(
        planner,
        None if yes else YesNo(_question(plan)),
        preface=f"cause: {explain_cause(space)}\n",
        after=lambda done: _advice(run, first, measured, path if _is_compacted(done) else None),
    )


def _is_compacted(plan: Plan) -> bool:
    return any(isinstance(step, CompactHistory) for step in plan.steps)


def _question(plan: Plan) -> str:
    effects = []
    if _is_compacted(plan):
        effects.append("Old revisions are removed.")
    if any(isinstance(step, DefragmentMember) for step in plan.steps):
        effects.append("The clients of a member wait while it is being defragmented.")
    return " ".join((*effects, "No key is deleted. Free the space?"))


def _advice(run: ChangeRun, first: Observed, measured: Measured, path: Path | None) -> list[str]:
    """Return why the database would be full again, and where its history is."""
    spec = run.session.spec
    quota = min(quota_of(spec, first, name) for name in first.answering())
    reasons = list(reasons_to_return(spec, measured.space, quota))
    if run.report is not None:
        run.report.more["space"] |= {"returns_because": reasons, "snapshot": str(path) if path else None}
    lines = ["why it can be full again:", *(f"- {each}" for each in reasons)]
    lines.append("run `etcdup maintain space --live` in some hours: it shows what uses the space again")
    return [*lines, ""]


def _report_nothing_to_do(run: ChangeRun, observed: Observed) -> None:
    if run.report is not None:
        run.report.plan = Plan(run.session.spec.name)
    for name, seen in sorted(observed.answering().items()):
        quota = quota_of(run.session.spec, observed, name)
        run.terminal.say(f"{name}: the database has {show_size(seen.db_size)} of {show_size(quota)}")
    run.terminal.say("nothing to do: NOSPACE is not active, and no database is near its quota")


async def _save_snapshot(session: Session, world: World, observed: Observed) -> Path:
    """Save a snapshot, which is the backup before a compaction."""
    async with session.terminal.wait_notice("saving a snapshot"):
        return await save_before("fix-space", world, observed, datetime.now(UTC), session.terminal.report)


async def _measure(session: Session, path: Path, keep_s: int | None) -> Measured:
    async with session.terminal.wait_notice("reading what uses the space"):
        return await asyncio.to_thread(_read, path, keep_s)


def _read(path: Path, keep_s: int | None) -> Measured:
    kept = timedelta(seconds=_HISTORY_S if keep_s is None else keep_s)
    until = datetime.now(UTC) - kept if kept else None
    with open_database(path) as bolt:
        size = path.stat().st_size - HASH_BYTES
        return measure(bolt, size, until, keeps_history=keep_s is not None)
