"""The snapshot of an earlier revision, made from a snapshot that has the history of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from etcdup.core.backups.change_log import Times, read_times
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.spec.units import show_time
from etcdup.errors import RefusedError
from etcdup.ops.backups.rewrite import rewrite_snapshot
from etcdup.ops.backups.snapshot_file import open_database, read_snapshot


async def rewind_snapshot(
    snapshot: SnapshotFile, folder: Path, wanted: int | datetime, report: Callable[[str], None]
) -> SnapshotFile:
    """Write the data as of a revision, or as of the newest known time up to `wanted`, into `folder`.

    The same snapshot and the same revision give the same file, so that an interrupted restore can resume. Raises
    RefusedError if the snapshot does not have all keys of the revision.
    """
    source = Path(snapshot.path)
    if isinstance(wanted, int):
        revision = wanted
    else:
        with open_database(source) as bolt:
            revision = await find_revision(snapshot.title, bolt, wanted, report)
    target = folder / f"{source.stem}-at-{revision}.db"
    await rewrite_snapshot(source, target, revision, title=snapshot.title)
    return replace(
        await asyncio.to_thread(read_snapshot, target),
        origin=snapshot.origin,
        cluster_id=snapshot.cluster_id,
        rewound_from=snapshot.title,
        newest=snapshot.revision,
    )


async def find_revision(title: str, bolt: Bolt, wanted: datetime, report: Callable[[str], None]) -> int:
    """Return the newest revision whose time is known and not after `wanted`. Raises RefusedError if there is none."""
    known = await asyncio.to_thread(read_times, bolt)
    revision, at = _revision_at(title, known, wanted)
    report(
        f"revision {revision} of {show_time(at)} is the newest with a known time up to {show_time(wanted)}"
    )
    if between := _revisions_after(known, revision):
        report(between)
    return revision


def _revisions_after(known: Times, revision: int) -> str:
    """Return which later revisions can be from before the wanted time too; empty if there are none."""
    later = known.next_after(revision)
    if later is None or later[0] == revision + 1:
        return ""
    first, last = revision + 1, later[0] - 1
    between = f"revision {first} is" if first == last else f"revisions {first} to {last} are"
    return (
        f"{between} from before {show_time(later[1])}, and not included: `etcdup backup log` lists their changes, and "
        "`--revision N` includes some"
    )


def _revision_at(title: str, known: Times, wanted: datetime) -> tuple[int, datetime]:
    found = known.last_until(wanted)
    if found is None:
        raise RefusedError(
            f"{title} has no revision whose time is known to be before {show_time(wanted)}",
            hint="run `etcdup backup log BACKUP` to see which changes it has, then pass `--revision N`",
        )
    if known.times[-1] < wanted:
        # Changes after the last known time are possibly before `wanted`, and are possibly not in the file.
        raise RefusedError(
            f"{title} ends before {show_time(wanted)}: its last known time is {show_time(known.times[-1])}",
            hint="pass a later backup of `etcdup backup list`, or leave out `--at` to restore all of this one",
        )
    return found
