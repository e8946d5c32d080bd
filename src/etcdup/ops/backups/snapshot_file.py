"""A snapshot file on the operator's machine, read and verified completely before it is used.

Its checksum shows damage: `snapshot status` of etcd does not verify it (rule 54). Its member list shows the cluster
that it comes from.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from etcdup.core.backups.backups import HASH_BYTES, can_be_whole
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.bbolt import Bolt, cluster_version, newest_revision, open_bolt
from etcdup.core.etcd.leases import LeaseUse, read_leases
from etcdup.core.observed.model import ListedMember
from etcdup.core.restore.snapshot_origin import read_members
from etcdup.errors import RefusedError
from etcdup.ops.backups.checksum import StreamChecksum, checksum_file


def read_snapshot(path: Path) -> SnapshotFile:
    """Return the facts of a snapshot file. Raises RefusedError if it is damaged, truncated, or not a snapshot."""
    try:
        with path.open("rb") as file:
            checksum = _checksum_file(path, file)
            contents = _read_contents(path, file, checksum.size - HASH_BYTES)
    except OSError as error:
        raise RefusedError(f"cannot read {path}: {error.strerror}") from None
    return SnapshotFile(
        str(path.absolute()), checksum.sha256, checksum.size,
        contents.revision, contents.made_by, members=contents.members, leases=contents.leases,
    )  # fmt: skip


@dataclass(frozen=True)
class _Contents:
    revision: int
    made_by: str
    members: tuple[ListedMember, ...]
    leases: LeaseUse


def _checksum_file(path: Path, file: BinaryIO) -> StreamChecksum:
    size = file.seek(0, 2)
    if not can_be_whole(size):
        raise _damaged(path, f"its size of {size} bytes is not that of whole pages and a checksum")
    file.seek(0)
    checksum = checksum_file(file)
    if not checksum.has_valid_trailer:
        raise _damaged(path, "the checksum at its end does not match")
    return checksum


def _read_contents(path: Path, file: BinaryIO, end: int) -> _Contents:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        try:
            return _contents(open_bolt(lambda start, stop: memoryview(mapped[start : min(stop, end)])))
        except (ValueError, struct.error, IndexError) as error:
            why = str(error)
            raise _damaged(path, f"its database is not readable: {why}") from None


def _contents(bolt: Bolt) -> _Contents:
    members = read_members(value for _, value in bolt.items(b"members"))
    return _Contents(newest_revision(bolt), cluster_version(bolt), members, read_leases(bolt))


def _damaged(path: Path, why: str) -> RefusedError:
    return RefusedError(
        f"{path} is not a complete snapshot: {why}",
        hint="use another snapshot, made by `etcdctl snapshot save`: "
        "a copy of the `db` file of a member is not a snapshot",
    )
