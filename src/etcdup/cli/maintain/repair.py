"""`etcdup maintain repair`."""

from pathlib import Path

from etcdup.cli.apply.apply import converge_to
from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, require_take_over
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.cli.views.hashes_view import render_hashes
from etcdup.core.audit.findings import MemberHash
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.repair import Repair, plan_repair
from etcdup.errors import EtcdupError
from etcdup.ops.maintain.repair import COMPARE_HINT, compare_voters, examine, save_source
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.world import World


def repair_member(file: Path, name: str, *, yes: bool, as_json: bool) -> int:
    """Replace a member whose data differs from that of a majority."""
    session = Session.begin(file)
    back = f"If {name} is a member that you deleted from the file: write its line back, then run this again"
    chosen_hosts(session.spec, file, name, back)
    check_tls_files(session)
    run = ChangeRun(session, f"maintain repair {name}", as_json=as_json)
    return run.run_to_exit(_repair(run, name, yes=yes))


async def _repair(run: ChangeRun, name: str, *, yes: bool) -> None:
    session = run.session
    async with session.world() as world:
        world.repaired = name
        first = session.require_formed(await session.observe_with_lock(world))
        require_take_over(run, first)
        async with session.terminal.wait_notice("each member computes its hash, one after the other"):
            found, hashes = await examine(world, first, name)
        _show_hashes(run, hashes)
        planner = _planner(session, found)
        if found.kind == "replace":
            await _repair_with_snapshot(run, world, first, found, planner, yes=yes)
        else:
            await _carry_out(run, world, first, found, planner, yes=yes)


async def _repair_with_snapshot(
    run: ChangeRun, world: World, first: Observed, found: Repair, planner: Planner, *, yes: bool
) -> None:
    """Save the right data, and keep the file only if something is changed."""
    session = run.session
    first = await session.resolve_binaries(world, first)
    make_plan(run, planner, first)  # A snapshot is of no use if the plan is refused.
    async with session.terminal.wait_notice("saving a snapshot"):
        path = await save_source(world, first, found, session.terminal.report)
    try:
        await _carry_out(run, world, first, found, planner, yes=yes, path=path)
    finally:
        if run.progress is None:
            path.unlink(missing_ok=True)


async def _carry_out(
    run: ChangeRun,
    world: World,
    first: Observed,
    found: Repair,
    planner: Planner,
    *,
    yes: bool,
    path: Path | None = None,
) -> None:
    if run.report is not None:
        run.report.more["repair"] = {"kind": found.kind, "fault": found.fault or None, "snapshot": None}
    saved = f"the right data is saved in {path}; etcdup does not delete it\n" if path else ""
    question = YesNo(_question(found))
    await converge_to(run, world, first, Change(planner, None if yes else question, preface=saved))
    if run.progress is None:
        return
    if run.report is not None and path is not None:
        run.report.more["repair"]["snapshot"] = str(path)
    async with run.terminal.wait_notice("each member computes its hash, one after the other"):
        hashes, why = await compare_voters(world, await observe(world))
    _show_hashes(run, hashes)
    if why:
        done = "the alarm was disarmed" if found.kind == "disarm" else f"{found.member} was replaced"
        raise EtcdupError(f"{done}, and {why}", hint=COMPARE_HINT)


def _planner(session: Session, found: Repair) -> Planner:
    spec, token = session.spec, session.generate_token()

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_repair(spec, found, observed, token)

    return planner


def _question(found: Repair) -> str:
    if found.kind == "disarm":
        return "All members have the same data. Disarm the alarm CORRUPT?"
    return f"A new member replaces {found.member}, whose data is archived on its host. Continue?"


def _show_hashes(run: ChangeRun, hashes: tuple[MemberHash, ...]) -> None:
    run.terminal.say(render_hashes(hashes, run.terminal.err))
