"""`etcdup restore`."""

import asyncio
import shlex
from pathlib import Path

from etcdup.cli.apply.apply import converge_to
from etcdup.cli.backups.open_backup import source_of
from etcdup.cli.run.change import Change, ChangeRun, ClusterName, typed_options
from etcdup.cli.run.moment import Moment, parse_time, show_moment
from etcdup.cli.run.session import Session
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.revocation import restored_lines
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.restore.attempt import begun_restore, restore_token, was_restored
from etcdup.core.restore.client_notes import restart_line
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.snapshot_origin import refuse_foreign_snapshot
from etcdup.errors import RefusedError, UsageError
from etcdup.ops.backups.destinations import open_destinations
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.restore.rewind import rewind_snapshot
from etcdup.ops.restore.snapshot_source import SnapshotSource, fetch_source, read_source
from etcdup.ops.world.refusal import Planner


def restore_cluster(
    file: Path,
    snapshot: Path,
    name: str | None,
    *,
    again: bool,
    keep_leases: bool = False,
    origin: str | None = None,
    identity: Path | None = None,
    unsigned: bool = False,
    revision: int | None = None,
    at: str | None = None,
    as_json: bool = False,
) -> int:
    """Replace the data of the cluster by a snapshot.

    `name` is the cluster's name if the operator confirmed with an option. `origin` is the name of the cluster that the
    snapshot comes from, if the operator named another one. `revision` or `at` is an earlier moment in its history.
    """
    session = Session.begin(file, named=name)
    source = source_of(session, snapshot, identity, unsigned=unsigned, origin=origin)
    moment = _moment_in(source, revision, at)
    options = {
        "revision": revision,
        "at": at,
        "from-cluster": origin,
        "identity": identity,
        "unsigned": unsigned,
        "keep-leases": keep_leases,
    }
    verb = f"restore {shlex.quote(str(snapshot))}{typed_options(options)}"
    run = ChangeRun(session, verb, as_json=as_json)
    confirm = None if name is not None else _ask_name(session, _restore_effect(session, source, moment))

    async def restore() -> None:
        with scratch_folder("restore") as folder:
            # Which backup is `latest` depends on the markers of the hosts. Other files are read before any connection.
            read = None if source.is_latest else await _read_snapshot(session, source, folder)
            if read is not None and moment is not None:
                read = await _rewind(session, read, folder, moment)
            async with session.world() as world:
                observed = await session.observe(world)
                if read is None:
                    begun = begun_restore(session.spec, observed)
                    read = await _read_snapshot(session, source, folder, begun)
                    observed = await session.observe(world)
                planner = _restore_planner(
                    session,
                    observed,
                    read,
                    again=again,
                    is_foreign=origin is not None,
                    keep_leases=keep_leases,
                )
                change = Change(planner, confirm, after=lambda _: _restored_lines(session, observed))
                await converge_to(run, world, observed, change)

    return run.run_to_exit(restore())


def _ask_name(session: Session, effect: str) -> ClusterName:
    return ClusterName(session.spec.name, "restore", effect)


def _restore_effect(session: Session, source: SnapshotSource, moment: Moment | None) -> str:
    as_of = "" if moment is None else f" as of {show_moment(moment)}"
    return (
        f"This replaces the data of cluster {session.spec.name} by the snapshot {source.named}{as_of}. All members are "
        "stopped until the restored data is in place. The old data is archived on each host."
    )


def _moment_in(source: SnapshotSource, revision: int | None, at: str | None) -> Moment | None:
    moment = revision if at is None else parse_time("--at", at)
    if moment is not None and source.is_latest:
        raise UsageError(
            "--revision and --at need the name of a backup, because `latest` is another backup at another time",
            hint="run `etcdup backup list`, and pass one of its names",
        )
    return moment


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


async def _rewind(session: Session, snapshot: SnapshotFile, folder: Path, moment: Moment) -> SnapshotFile:
    terminal = session.terminal
    async with terminal.wait_notice(f"writing the data of {snapshot.title} as of {show_moment(moment)}"):
        return await rewind_snapshot(snapshot, folder, moment, terminal.say)


def _restore_planner(
    session: Session,
    observed: Observed,
    snapshot: SnapshotFile,
    *,
    again: bool,
    is_foreign: bool,
    keep_leases: bool,
) -> Planner:
    """Return the planner of the whole run. Its token and its suffix come from the first observation."""
    spec, suffix = session.spec, aside_suffix(observed.at)
    token = restore_token(spec, observed, session.generate_token())
    if was_restored(spec, observed, snapshot) and not again:
        hint = "pass `--again` to restore it again; all data that was written since is then archived"
        raise RefusedError(f"cluster {spec.name} was already restored from {snapshot.title}", hint=hint)
    against = () if is_foreign else refuse_foreign_snapshot(spec, observed, snapshot)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restore(spec, observed, snapshot, token, suffix, against=against, keep_leases=keep_leases)

    return planner


def _restored_lines(session: Session, observed: Observed) -> tuple[str, ...]:
    """Return what operators of the clients have to do (rules 69, 104), and about hosts that left (rule 110)."""
    spec = session.spec
    return (
        f"Cluster {spec.name} has the data of the snapshot.",
        restart_line(spec.version),
        *restored_lines(spec, observed),
        "",
    )
