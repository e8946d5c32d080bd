"""`etcdup restore --undo`."""

import asyncio
from pathlib import Path

from etcdup.cli.apply.apply import converge_to
from etcdup.cli.run.change import Change, ChangeRun, ClusterName, YesNo, make_plan, run_change
from etcdup.cli.run.session import Session
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.recovery.undo_by_restore import (
    is_undone_by_restore,
    needs_snapshot,
    placed_snapshot,
    plan_undo_by_restore,
    refuse_undo_by_restore,
    undo_token,
)
from etcdup.core.restore.client_notes import restart_line
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.restore.undo import find_undo_snapshot, prepare_archive_snapshot
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


def undo_restore(file: Path, name: str | None, *, keep_leases: bool = False, as_json: bool = False) -> int:
    """Bring the data back that the last restore archived."""
    session = Session.begin(file, named=name)
    verb = f"restore --undo{' --keep-leases' if keep_leases else ''}"
    run = ChangeRun(session, verb, as_json=as_json)
    return run.run_to_exit(_undo(run, sure=name is not None, keep_leases=keep_leases))


async def _undo(run: ChangeRun, *, sure: bool, keep_leases: bool) -> None:
    session = run.session
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        if is_undone_by_restore(session.spec, observed):
            await _undo_by_restore(run, world, observed, sure=sure, keep_leases=keep_leases)
        else:
            change = Change(_undo_planner(session, observed), _confirm(session, sure=sure))
            await converge_to(run, world, observed, change)


async def _undo_by_restore(
    run: ChangeRun, world: World, observed: Observed, *, sure: bool, keep_leases: bool
) -> None:
    """Take a snapshot of the archived data, and restore it. These are two changes, each with its own plan."""
    session = run.session
    if reasons := refuse_undo_by_restore(session.spec, observed):
        raise_refusal(Refusal(session.spec.name, reasons))
    chosen = await _choose_snapshot(run, world, observed, sure=sure)
    if chosen is None:
        return
    observed = await session.observe(world)
    planner = _undo_by_restore_planner(session, observed, *chosen, keep_leases=keep_leases)
    confirm = _confirm(session, sure=sure)
    await converge_to(run, world, observed, Change(planner, confirm, after=lambda _: _undone_lines(session)))


async def _choose_snapshot(
    run: ChangeRun, world: World, observed: Observed, *, sure: bool
) -> tuple[SnapshotFile, str] | None:
    """Return the snapshot of the archived data and the token of the cluster. Return None if a plan was only shown.

    A new snapshot gets a new token: hosts that have the data of an earlier one prepared are then prepared again.
    """
    spec, fresh = run.session.spec, run.session.generate_token()
    path = await find_undo_snapshot(world, observed)
    token = undo_token(spec, observed, fresh) if path else fresh
    if path is None and not needs_snapshot(spec, observed):
        return placed_snapshot(spec, observed), undo_token(spec, observed, fresh)
    path = path or await _take_archive_snapshot(run, world, observed, sure=sure)
    return (await asyncio.to_thread(read_snapshot, path), token) if path else None


async def _take_archive_snapshot(
    run: ChangeRun, world: World, observed: Observed, *, sure: bool
) -> Path | None:
    planner, path = await prepare_archive_snapshot(world, observed)
    question = YesNo("Take this snapshot? No member is stopped.", f"--yes-restore {world.spec.name}")
    change, plan = Change(planner, None if sure else question, prove=False), make_plan(run, planner, observed)
    return path if await run_change(run, world, change, plan, observed) is not None else None


def _confirm(session: Session, *, sure: bool) -> ClusterName | None:
    name = session.spec.name
    effect = (
        f"This undoes the last restore of cluster {name}: the members get the old data again, and the restored data is "
        "archived. Members that run on the restored data are stopped."
    )
    return None if sure else ClusterName(name, "restore", effect)


def _undo_planner(session: Session, observed: Observed) -> Planner:
    spec, suffix = session.spec, aside_suffix(observed.at)
    begun = can_undo(spec, observed)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo(spec, observed, suffix, resumed=begun)

    return planner


def _undo_by_restore_planner(
    session: Session, observed: Observed, snapshot: SnapshotFile, token: str, *, keep_leases: bool
) -> Planner:
    spec, suffix = session.spec, aside_suffix(observed.at)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo_by_restore(spec, observed, snapshot, token, suffix, keep_leases=keep_leases)

    return planner


def _undone_lines(session: Session) -> tuple[str, ...]:
    """Return what operators of the clients have to know after an undo by restore."""
    name, version = session.spec.name, session.spec.version
    return (
        f"Cluster {name} has the data from before the restore again.",
        restart_line(version),
        "",
    )
