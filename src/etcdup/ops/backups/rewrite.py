"""Write a snapshot file again: without free pages, and without the changes after a revision."""

import asyncio
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import BinaryIO

from etcdup.core.backups.rewind import Content, available_revisions, content_at, content_of, without_alarms
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.bbolt_writer import BoltWriter
from etcdup.errors import EtcdupError, RefusedError
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.files import publish, temporary_file

_PIECE_BYTES = 1 << 20


async def rewrite_snapshot(
    source: Path, target: Path, revision: int | None = None, *, alarms: bool = True, title: str = ""
) -> None:
    """Write the snapshot `source` to `target`, as of `revision`. The same input gives the same bytes.

    Without `alarms`, the bucket of the alarms is empty. `title` is the name of the snapshot in an error.

    A file with the name `target` is complete. Raises RefusedError if the file is damaged, or if it does not have all
    keys of the revision. After a cancellation, the thread that writes ends at its next page.
    """
    stop = Event()
    try:
        await asyncio.to_thread(_rewrite, source, target, revision, alarms, title, stop)
    finally:
        stop.set()


def _rewrite(source: Path, target: Path, revision: int | None, alarms: bool, title: str, stop: Event) -> None:
    with open_database(source) as bolt:
        if revision is None:
            content = content_of(bolt)
        else:
            refuse_unavailable(title or source.name, revision, bolt)
            content = content_at(bolt, revision)
        content = content if alarms else without_alarms(content)
        try:
            with temporary_file(target, 0o600) as part:
                with part.open("rb+", buffering=_PIECE_BYTES) as file:
                    _write_database(file, BoltWriter(bolt.page_size), content, stop)
                    _append_checksum(file)
                publish(part, target)
        except OSError as error:
            raise EtcdupError(f"cannot write {target}: {error.strerror}") from None


def refuse_unavailable(title: str, revision: int, bolt: Bolt) -> None:
    """Raise RefusedError if the database does not have all keys of the revision."""
    oldest, newest = available_revisions(bolt)
    if not oldest <= revision <= newest:
        raise RefusedError(
            f"{title} does not have revision {revision}: it has revisions {oldest} to {newest}",
            hint="run `etcdup backup list` for the revision of each backup, and `etcdup backup log BACKUP` for the "
            "changes in one",
        )


def _write_database(file: BinaryIO, writer: BoltWriter, content: Iterable[Content], stop: Event) -> None:
    file.seek(writer.head_size)
    for name, sequence, items in content:
        for page in writer.add_bucket(name, sequence, items):
            if stop.is_set():
                raise EtcdupError("interrupted")
            file.write(page)
    file.seek(0)
    file.write(writer.head())


def _append_checksum(file: BinaryIO) -> None:
    """Append the checksum that etcd writes to the end of a snapshot (rule 54)."""
    file.seek(0)
    digest = sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    file.write(digest.digest())
