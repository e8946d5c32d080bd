"""`etcdup restore-keys`."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from etcdup.cli.backups.open_backup import OpenedBackup, opened_backup, source_of
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change, typed_options
from etcdup.cli.run.moment import parse_time
from etcdup.cli.run.session import Session
from etcdup.cli.views.keys_view import comparison_json, conflict_lines, conflicts_json, render_comparison
from etcdup.core.backups.backups import HASH_BYTES
from etcdup.core.backups.old_keys import MOST_KEYS, OWN_PREFIX, Row, find_rows
from etcdup.core.backups.rewind import available_revisions
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.keys import key_text
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.restore_steps import RestoreKeys
from etcdup.core.restore.restore_keys import KeyComparison, KeyJob, plan_restore_keys, refuse_restore_keys
from etcdup.core.restore.snapshot_origin import read_members, refuse_foreign_snapshot
from etcdup.errors import EXIT_DONE, RefusedError, UsageError
from etcdup.ops.backups.rewrite import refuse_unavailable
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.restore.keys import compare_keys
from etcdup.ops.restore.rewind import find_revision
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class KeysToRestore:
    """What the operator asked for. Without `revision` and `at` it is the newest revision of the backup."""

    prefix: bytes
    target: bytes
    backup: Path
    revision: int | None
    at: datetime | None
    with_leased: bool


def restore_old_keys(
    file: Path,
    prefix: str,
    to_prefix: str | None,
    backup: Path,
    *,
    revision: int | None,
    at: str | None,
    with_leased: bool,
    dry_run: bool,
    yes: bool,
    origin: str | None,
    identity: Path | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Write the values that the keys had at a revision of a backup into the running cluster."""
    session = Session.begin(file)
    target = prefix if to_prefix is None else to_prefix
    wanted = KeysToRestore(
        _prefix("--prefix", prefix), _prefix("--to-prefix", target), backup, revision,
        None if at is None else parse_time("--at", at), with_leased,
    )  # fmt: skip
    source = source_of(session, backup, identity, unsigned=unsigned, origin=origin)
    options = {
        "prefix": prefix,
        "to-prefix": to_prefix,
        "revision": revision,
        "at": at,
        "backup": backup if str(backup) != "latest" else None,
        "from-cluster": origin,
        "identity": identity,
        "unsigned": unsigned,
        "with-leased-keys": with_leased,
    }
    job: list[KeyJob] = []

    def resume(_: int) -> str:
        done = f"{job[0].text}; " if job else ""
        return f"{done}run `etcdup {run.verb}` again: it shows the keys that are left, and asks again"

    run = ChangeRun(session, f"restore-keys{typed_options(options)}", as_json=as_json, resume=resume)

    async def restore() -> None:
        async with opened_backup(session, source) as opened:
            number, rows = await _find(session, opened, wanted)
            async with session.world() as world:
                observed = await session.observe(world)
                _refuse(session, observed, opened, is_foreign=origin is not None)
                found = await _compare(session, world, observed, opened, rows, wanted)
                await _write(run, world, observed, opened, number, found, job, dry_run=dry_run, yes=yes)

    code = run.run_to_exit(restore())
    return EXIT_DONE if dry_run else code


def _prefix(option: str, text: str) -> bytes:
    prefix = text.encode("utf-8", "surrogateescape")
    if prefix.startswith(OWN_PREFIX):
        raise UsageError(f"{option}: keys that begin with {OWN_PREFIX.decode()} are those of etcdup itself")
    return prefix


async def _find(session: Session, opened: OpenedBackup, wanted: KeysToRestore) -> tuple[int, list[Row]]:
    """Return the revision, and the rows of the backup with the keys as of it."""
    terminal, bolt = session.terminal, opened.bolt
    async with terminal.wait_notice(f"reading {opened.title}"):
        if wanted.at is not None:
            revision = await find_revision(opened.title, bolt, wanted.at, terminal.say)
        else:
            newest = (await asyncio.to_thread(available_revisions, bolt))[1]
            revision = newest if wanted.revision is None else wanted.revision
        await asyncio.to_thread(refuse_unavailable, opened.title, revision, bolt)
        rows = await asyncio.to_thread(find_rows, bolt, revision, wanted.prefix)
    prefix = key_text(wanted.prefix) or "this prefix"
    if rows is None:
        raise RefusedError(
            f"more than {MOST_KEYS:,} keys begin with {prefix}",
            hint="pass a longer `--prefix`, or restore the whole cluster: `etcdup restore BACKUP --revision N`",
        )
    if not rows:
        raise RefusedError(
            f"{opened.title} has no key that begins with {prefix} at revision {revision}",
            hint="run `etcdup backup log` with the same prefix to see when such keys changed",
        )
    return revision, rows


def _refuse(session: Session, observed: Observed, opened: OpenedBackup, *, is_foreign: bool) -> None:
    """Raise RefusedError if the keys cannot be written now, or if the file is that of another cluster."""
    reasons = refuse_restore_keys(0, session.spec, observed)
    if not reasons and not is_foreign:
        manifest = opened.manifest
        members = read_members(value for _, value in opened.bolt.items(b"members"))
        size = opened.path.stat().st_size - HASH_BYTES
        cluster_id = manifest.cluster_id if manifest and manifest.signed else ""
        snapshot = SnapshotFile(
            str(opened.path), "", size, 0, "", opened.title if manifest else "", members, cluster_id
        )
        reasons = refuse_foreign_snapshot(session.spec, observed, snapshot)
    if reasons:
        raise_refusal(Refusal(session.spec.name, reasons))


async def _compare(
    session: Session,
    world: World,
    observed: Observed,
    opened: OpenedBackup,
    rows: list[Row],
    wanted: KeysToRestore,
) -> KeyComparison:
    comparison = KeyComparison(wanted.prefix, wanted.target, wanted.with_leased)
    client = await connect_healthy_member(world, observed, "")
    async with session.terminal.wait_notice("comparing keys"):
        await compare_keys(client, world.clock, opened.bolt, rows, comparison, session.terminal.report)
    return comparison


async def _write(
    run: ChangeRun,
    world: World,
    observed: Observed,
    opened: OpenedBackup,
    revision: int,
    found: KeyComparison,
    job: list[KeyJob],
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Show what would be overwritten, ask, and write."""
    spec, terminal = run.session.spec, run.terminal
    shown = render_comparison(found, opened.title, revision)
    if run.report is not None:
        run.report.more["keys"] = comparison_json(found, opened.title, revision)
    if not found.writes:
        terminal.say(shown)
        terminal.say("nothing to do: no key has to be written")
        if run.report is not None:
            run.report.plan = Plan(spec.name)
        return
    step = _step(opened.title, revision, found)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restore_keys(spec, observed, step)

    plan = make_plan(run, planner, observed)
    if dry_run:
        if run.report is not None:
            run.report.plan, run.report.pending = plan, True
        else:
            terminal.print_data(shown)
        terminal.say("nothing was written, because you passed `--dry-run`")
        return
    world.key_job = KeyJob(opened.bolt, found.writes)
    job.append(world.key_job)
    question = YesNo(f"Write {len(found.writes):,} keys into the running cluster {spec.name}?")
    change = Change(planner, None if yes else question, prove=False, preface="" if run.report else shown)
    try:
        if await run_change(run, world, change, plan, observed) is not None and run.report is None:
            terminal.print_data(f"{job[0].text}\n")
    finally:
        if run.report is not None:
            run.report.more["written"] = job[0].written
            run.report.more["not_written"] = conflicts_json(job[0].conflicts)
        elif job[0].conflicts:
            terminal.print_data(conflict_lines(job[0].conflicts))


def _step(title: str, revision: int, found: KeyComparison) -> RestoreKeys:
    return RestoreKeys(
        source=title,
        revision=revision,
        prefix=key_text(found.prefix),
        to_prefix=key_text(found.target),
        created=len(found.created),
        overwritten=len(found.overwritten),
        bytes=found.bytes,
        reason=f"these keys have other values than at revision {revision} of {title}",
    )
