"""Snapshots of the data of a cluster in a folder of the operator: streamed, verified, then renamed to their name.

A file with the name of a snapshot is complete. A partial or damaged snapshot never has such a name.
"""

import asyncio
import errno
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups.backups import can_be_whole
from etcdup.core.observed.model import SnapshotSeen
from etcdup.errors import EtcdupError
from etcdup.ops.backups.checksum import checksum_file
from etcdup.ops.files import create_empty_file, publish, sync_file
from etcdup.remote.etcd.client import EtcdClient

Report = Callable[[str], None]

# The longest time without data between two parts of the stream.
STALL_S = 30.0
STATUS_S = 10.0
# How much a database can grow between the status of a member and its snapshot.
GROWTH_BYTES = 1 << 30
_MIB = 1 << 20
# Progress is reported each time after this number of bytes, so that a fast line does not flood the terminal.
_REPORT_BYTES = 16 * _MIB
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(
    r"(?P<cluster>.+)-(?P<hop>\d+\.\d+-to-\d+\.\d+|take-over)-(?P<stamp>\d{8}T\d{6}Z)\.db", re.ASCII
)


def snapshot_name(cluster: str, hop: str, at: datetime) -> str:
    """Return `prod-3.5-to-3.6-20261122T120000Z.db`: cluster, hop, and the time of the snapshot in UTC."""
    return f"{cluster}-{hop}-{at.astimezone(UTC).strftime(_STAMP)}.db"


def find_snapshots(folder: Path, cluster: str) -> tuple[SnapshotSeen, ...]:
    """Return the complete snapshots of the cluster, oldest first. A folder that does not exist has none."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ()
    found = (_seen(path) for path in paths)
    return tuple(
        sorted(
            (seen for seen in found if seen is not None and seen.cluster == cluster),
            key=lambda seen: (seen.taken_at, seen.path),
        )
    )


async def take_snapshot(client: EtcdClient, folder: Path, name: str, *, report: Report) -> SnapshotSeen:
    """Write the data of a member to `folder/name` and verify its checksum. The mode is 0600: it contains all secrets.

    `name` is from `snapshot_name`. Only a few MiB of the stream are in memory. Raises EtcdupError, or EtcdRpcError
    if the member is the cause. After an error no partial file remains.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name} is not the name of a snapshot")
    seen = _seen(await save_snapshot(client, folder, name, report=report))
    assert seen is not None, "its name and size were checked before"
    return seen


async def save_snapshot(client: EtcdClient, folder: Path, name: str, *, report: Report) -> Path:
    """Do the same as `take_snapshot` with any file name. A member sends it also without a quorum (rule 62)."""
    target, part = folder / name, folder / f".{name}.part"
    with _explained(folder):
        _prepare(folder, name)
        size = await _check_free_space(client, folder)
        try:
            await _stream(client, part, report, size)
            report(f"verifying {name}")
            await asyncio.to_thread(_verify, part, client.name)
            publish(part, target)
        finally:
            part.unlink(missing_ok=True)
    return target


async def _check_free_space(client: EtcdClient, folder: Path) -> int:
    """Return the size of the database. Raise EtcdupError if the operator's disk is too small for it."""
    size = (await client.status(timeout_s=STATUS_S)).db_size
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_space(folder, f"the snapshot needs {_mib(size)}, {_mib(free)} is free")
    return size


def refuse_endless_snapshot(member: str, got: int, size: int) -> None:
    """Raise EtcdupError if a member sends far more than the size of the database that it reported before."""
    if got > 2 * size + GROWTH_BYTES:
        raise EtcdupError(
            f"{member} sent {_mib(got)} as its snapshot, and reported a database of {_mib(size)}",
            hint=f"check {member}, or use another member",
        )


async def _stream(client: EtcdClient, part: Path, report: Report, size: int) -> None:
    async with aclosing(client.snapshot(timeout_s=STALL_S)) as stream:
        await _write(stream, client.name, part, report, size)


async def _write(stream: AsyncIterator[bytes], member: str, part: Path, report: Report, size: int) -> None:
    got = reported = 0
    with os.fdopen(create_empty_file(part, 0o600), "wb") as file:
        async for blob in stream:
            file.write(blob)
            got += len(blob)
            refuse_endless_snapshot(member, got, size)
            if got - reported >= _REPORT_BYTES:
                reported = got
                report(f"snapshot from {member}: {_mib(got)}")


def _verify(part: Path, member: str) -> None:
    """Sync the file to the disk, read it back, and compare it with the checksum at its end (rule 54)."""
    sync_file(part)
    with part.open("rb") as file:
        checksum = checksum_file(file)
    if not checksum.has_valid_trailer:
        raise EtcdupError(
            f"the snapshot from {member} is damaged: it has {checksum.size} bytes, "
            "and the checksum at its end does not match",
            hint=f"try again; if the error remains, check the disk of {member} and the network, or use another member",
        )


def _seen(path: Path) -> SnapshotSeen | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        size = path.stat().st_size
        taken_at = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None
    if not path.is_file() or not can_be_whole(size):
        return None
    return SnapshotSeen(str(path), match["cluster"], match["hop"], taken_at, size)


def _prepare(folder: Path, name: str) -> None:
    """Create the folder, and remove partial snapshots of this cluster that a killed run left.

    No other run writes one now, because this run holds the lock of the cluster.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = _NAME.fullmatch(name)
    for left in folder.glob(".*.db.part"):
        match = _NAME.fullmatch(left.name[1:].removesuffix(".part"))
        if wanted and match and match["cluster"] == wanted["cluster"]:
            left.unlink(missing_ok=True)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Raise errors of the operator's disk as EtcdupError, with the name of the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(folder, "the disk is full") from None
        raise EtcdupError(
            f"cannot write a snapshot to {folder}: {error.strerror}",
            hint=f"check that {folder} on this machine is a directory that you can write, or write another one into "
            "`backup.to`",
        ) from None


def _no_space(folder: Path, why: str) -> EtcdupError:
    return EtcdupError(
        f"not enough free space for a snapshot in {folder}: {why}",
        hint="free disk space on this machine, or write a folder on another disk into `backup.to`",
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
