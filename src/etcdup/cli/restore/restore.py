"""`etcdup restore`."""

import asyncio
from pathlib import Path

from etcdup.cli.apply.apply import converge, converge_to
from etcdup.cli.run.change import Change, ChangeRun, ClusterName
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import WATCHERS_TO_RESTART
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.observed.model import Observed, aside_suffix
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import StartRestored
from etcdup.core.restore.restore import (
    begun_restore,
    can_bump,
    plan_restore,
    restore_token,
    was_restored,
)
from etcdup.core.restore.snapshot_origin import refuse_foreign_snapshot
from etcdup.core.restore.undo import can_undo, plan_undo
from etcdup.errors import RefusedError
from etcdup.ops.backups.destinations import open_destinations
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.restore.snapshot_source import SnapshotSource, fetch_source, read_source
from etcdup.ops.world.refusal import Planner

_RESTART_WATCHERS = f"Restart all clients that watch the cluster now: {WATCHERS_TO_RESTART}."


def restore_cluster(
    file: Path,
    snapshot: Path,
    name: str | None,
    *,
    again: bool,
    origin: str | None = None,
    identity: Path | None = None,
    as_json: bool = False,
) -> int:
    """Replace the data of the cluster by a snapshot.

    `name` is the cluster's name if the operator confirmed with an option. `origin` is the name of the cluster that the
    snapshot comes from, if the operator named another one.
    """
    session = Session.begin(file, named=name)
    source = SnapshotSource(
        snapshot, origin or session.spec.name, Identity.read(identity) if identity else None
    )
    run = ChangeRun(session, f"restore {source.named}", as_json=as_json)
    confirm = None if name is not None else _ask_name(session, _restore_effect(session, source))

    async def restore() -> None:
        with scratch_folder("restore") as folder:
            # Which backup is `latest` depends on what the hosts say. Other files are read before any connection.
            read = None if source.is_latest else await _read_snapshot(session, source, folder)
            async with session.world() as world:
                observed = await session.observe(world)
                if read is None:
                    begun = begun_restore(session.spec, observed)
                    read = await _read_snapshot(session, source, folder, begun)
                    observed = await session.observe(world)
                planner = _restore_planner(
                    session, observed, read, again=again, is_foreign=origin is not None
                )
                change = Change(planner, confirm, after=lambda _: _restored_lines(session))
                await converge_to(run, world, observed, change)

    return run.run_to_exit(restore())


def undo_restore(file: Path, name: str | None, *, as_json: bool = False) -> int:
    """Put the data back that the last restore archived."""
    session = Session.begin(file, named=name)
    run = ChangeRun(session, "restore --undo", as_json=as_json)

    def choose(observed: Observed) -> Change:
        return Change(
            _undo_planner(session, observed),
            None if name is not None else _ask_name(session, _undo_effect(session)),
            after=lambda plan: _undone_lines(session, plan),
        )

    return run.run_to_exit(converge(run, choose))


def _ask_name(session: Session, effect: str) -> ClusterName:
    return ClusterName(session.spec.name, "restore", effect)


def _restore_effect(session: Session, source: SnapshotSource) -> str:
    return (
        f"This replaces the data of cluster {session.spec.name} by the snapshot {source.named}. All members are "
        "stopped until the restored data is in place. The old data is archived on each host."
    )


def _undo_effect(session: Session) -> str:
    return (
        f"This undoes the last restore of cluster {session.spec.name}: the old data is put back, and the restored data "
        "is archived. Members that run on the restored data are stopped."
    )


async def _read_snapshot(
    session: Session, source: SnapshotSource, folder: Path, begun: str = ""
) -> SnapshotFile:
    terminal = session.terminal
    if not source.is_in_store:
        async with terminal.wait_notice(f"reading {source.named}"):
            return await asyncio.to_thread(read_source, source, folder)
    destinations = open_destinations(session.spec.backup, session.folder)
    async with terminal.wait_notice(f"fetching {source.named} from {destinations.title}"):
        return await fetch_source(destinations, source, folder, terminal.report, terminal.warn, begun)


def _restore_planner(
    session: Session, observed: Observed, snapshot: SnapshotFile, *, again: bool, is_foreign: bool
) -> Planner:
    """Return the planner of the whole run. Its token and its suffix come from the first observation."""
    spec, suffix = session.spec, aside_suffix(observed.at)
    token = restore_token(spec, observed, session.generate_token())
    if was_restored(spec, observed, snapshot) and not again:
        hint = "pass `--again` to restore it again; all data that was written since is then archived"
        raise RefusedError(f"cluster {spec.name} was already restored from {snapshot.title}", hint=hint)
    against = () if is_foreign else refuse_foreign_snapshot(spec, observed, snapshot)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restore(spec, observed, snapshot, token, suffix, against=against)

    return planner


def _undo_planner(session: Session, observed: Observed) -> Planner:
    spec, suffix = session.spec, aside_suffix(observed.at)
    begun = can_undo(spec, observed)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_undo(spec, observed, suffix, resumed=begun)

    return planner


def _restored_lines(session: Session) -> tuple[str, ...]:
    """Return what operators of the clients have to do (rules 69, 104)."""
    watchers = (
        "Its revisions are higher than before, so that watches notice the restore"
        if can_bump(session.spec.version)
        else "This version of etcd cannot raise the revisions: watches miss changes until their clients restart"
    )
    return (f"Cluster {session.spec.name} has the data of the snapshot. {watchers}.", _RESTART_WATCHERS, "")


def _undone_lines(session: Session, plan: Plan) -> tuple[str, ...]:
    """Return what operators of the clients have to do after an undo.

    Only etcd's own restore can raise revisions, and an undo does not run it (rule 58).
    """
    if not any(isinstance(step, StartRestored) for step in plan.steps):
        return ()
    return (
        f"Cluster {session.spec.name} has the data from before the restore again. Revisions are now lower than in the "
        "restored cluster. Existing watches will hang without an error.",
        _RESTART_WATCHERS,
        "",
    )
