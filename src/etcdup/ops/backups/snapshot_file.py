"""A snapshot on the operator's machine, read whole before anything is done with it.

Its own checksum is what tells damage: etcd's `snapshot status` does not look at it (rule 54). Whose data it is, its
list of members tells.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from etcdup.core.backups.backups import HASH_BYTES, can_be_whole
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.bbolt import Bolt, cluster_version, newest_revision, open_bolt
from etcdup.core.observed.model import ListedMember
from etcdup.core.restore.snapshot_origin import read_members
from etcdup.errors import RefusedError
from etcdup.ops.backups.checksum import StreamChecksum

_CHUNK = 1 << 20


def read_snapshot(path: Path) -> SnapshotFile:
    """Raises RefusedError where the file is damaged, cut short, or no snapshot."""
    try:
        with path.open("rb") as file:
            gauge = _checksum_file(path, file)
            contents = _read_contents(path, file, gauge.size - HASH_BYTES)
    except OSError as error:
        raise RefusedError(f"{path} cannot be read: {error.strerror}") from None
    return SnapshotFile(
        str(path.absolute()), gauge.sha256, gauge.size,
        contents.revision, contents.made_by, members=contents.members,
    )  # fmt: skip


@dataclass(frozen=True)
class _Contents:
    revision: int
    made_by: str
    members: tuple[ListedMember, ...]


def _checksum_file(path: Path, file: BinaryIO) -> StreamChecksum:
    """Read piece by piece: the whole of a large file, mapped, would count as this process's memory."""
    size = file.seek(0, 2)
    if not can_be_whole(size):
        raise _damaged(path, f"its {size} bytes are not whole pages and a checksum")
    gauge = StreamChecksum()
    file.seek(0)
    while piece := file.read(_CHUNK):
        gauge.update(piece)
    if not gauge.has_valid_trailer:
        raise _damaged(path, "it does not have the checksum that it ends with")
    return gauge


def _read_contents(path: Path, file: BinaryIO, end: int) -> _Contents:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        try:
            return _contents(open_bolt(lambda start, stop: memoryview(mapped[start : min(stop, end)])))
        except (ValueError, struct.error, IndexError) as error:
            why = str(error)
            raise _damaged(path, f"its database cannot be read: {why}") from None


def _contents(bolt: Bolt) -> _Contents:
    members = read_members(value for _, value in bolt.items(b"members"))
    return _Contents(newest_revision(bolt), cluster_version(bolt), members)


def _damaged(path: Path, why: str) -> RefusedError:
    return RefusedError(
        f"{path} is not a whole snapshot: {why}",
        hint="take another one; a plain copy of a member's `db` file is no snapshot, `etcdctl snapshot save` makes one",
    )
