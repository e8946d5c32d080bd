"""A snapshot file on the operator's machine, read and verified completely before it is used.

Its checksum shows damage: `snapshot status` of etcd does not verify it (rule 54). Its member list shows the cluster
that it comes from.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from etcdup.core.backups.backups import HASH_BYTES, can_be_whole
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.alarms import read_alarms
from etcdup.core.etcd.bbolt import Bolt, cluster_version, newest_revision, open_bolt
from etcdup.core.etcd.leases import LeaseUse, read_leases
from etcdup.core.observed.member import ListedMember
from etcdup.core.restore.snapshot_origin import read_members
from etcdup.errors import RefusedError
from etcdup.ops.backups.checksum import StreamChecksum, checksum_file


def read_snapshot(path: Path) -> SnapshotFile:
    """Return the facts of a snapshot file. Raises RefusedError if it is damaged, truncated, or not a snapshot."""
    checksum = verify_snapshot(path)
    with open_database(path) as bolt:
        contents = _contents(bolt)
    return SnapshotFile(
        str(path.absolute()), checksum.sha256, checksum.size,
        contents.revision, contents.made_by, members=contents.members, leases=contents.leases,
        alarms=contents.alarms,
    )  # fmt: skip


def verify_snapshot(path: Path) -> StreamChecksum:
    """Return the checksum of a snapshot file. Raises RefusedError if the checksum at its end does not match."""
    try:
        with path.open("rb") as file:
            return _checksum_file(path, file)
    except OSError as error:
        raise _unreadable(path, error) from None


@contextmanager
def open_database(path: Path) -> Iterator[Bolt]:
    """Open the database in a snapshot file. Errors of its format in the block are raised as RefusedError.

    The file is not mapped: a mapped file counts as memory of this process.
    """
    try:
        with path.open("rb", buffering=0) as file:
            end = file.seek(0, os.SEEK_END) - HASH_BYTES

            def read(start: int, stop: int) -> memoryview:
                size = min(stop, end) - start
                return memoryview(os.pread(file.fileno(), size, start) if size > 0 else b"")

            yield open_bolt(read)
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, struct.error, IndexError) as error:
        raise _damaged(path, f"its database is not readable: {error}") from None


@dataclass(frozen=True)
class _Contents:
    revision: int
    made_by: str
    members: tuple[ListedMember, ...]
    leases: LeaseUse
    alarms: tuple[str, ...]


def _checksum_file(path: Path, file: BinaryIO) -> StreamChecksum:
    size = file.seek(0, 2)
    if not can_be_whole(size):
        raise _damaged(path, f"its size of {size} bytes is not that of whole pages and a checksum")
    file.seek(0)
    checksum = checksum_file(file)
    if not checksum.has_valid_trailer:
        raise _damaged(path, "the checksum at its end does not match")
    return checksum


def _contents(bolt: Bolt) -> _Contents:
    members = read_members(value for _, value in bolt.items(b"members"))
    return _Contents(
        newest_revision(bolt), cluster_version(bolt), members, read_leases(bolt), read_alarms(bolt)
    )


def _unreadable(path: Path, error: OSError) -> RefusedError:
    return RefusedError(f"cannot read {path}: {error.strerror}")


def _damaged(path: Path, why: str) -> RefusedError:
    return RefusedError(
        f"{path} is not a complete snapshot: {why}",
        hint="use another snapshot, made by `etcdctl snapshot save`: "
        "a copy of the `db` file of a member is not a snapshot",
    )
