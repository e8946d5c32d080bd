"""Snapshots of a cluster's data in the operator's folder: streamed, verified, and only then given their name.

What is named here is whole: a snapshot that is half written or damaged is never found.
"""

import asyncio
import errno
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.observed.model import SnapshotSeen
from etcdup.errors import EtcdupError
from etcdup.remote.etcd.client import EtcdClient

Report = Callable[[str], None]

# The longest silence between two parts of the stream.
STALL_S = 30.0
STATUS_S = 10.0
_MIB = 1 << 20
_HASH_BYTES = 32
_PAGE_BYTES = 512
# Told of again after so much more, so that a fast line does not flood the screen.
_REPORT_BYTES = 16 * _MIB
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(?P<cluster>.+)-(?P<hop>\d+\.\d+-to-\d+\.\d+)-(?P<stamp>\d{8}T\d{6}Z)\.db", re.ASCII)


def snapshot_name(cluster: str, hop: str, at: datetime) -> str:
    """`prod-3.5-to-3.6-20261122T120000Z.db`: cluster, the minor that was and the one that comes, and when it was
    taken, in UTC."""
    return f"{cluster}-{hop}-{at.astimezone(UTC).strftime(_STAMP)}.db"


def find_snapshots(folder: Path, cluster: str) -> tuple[SnapshotSeen, ...]:
    """The cluster's whole snapshots, oldest first. A folder that is not there has none."""
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
    """The member's data, verified by its own checksum, as `folder/name`, for its owner alone: it holds every secret.

    `name` is from `snapshot_name`. Memory is bounded by a few MiB of the stream. Raises EtcdupError; an EtcdRpcError
    where the member is the cause. Whatever the end, nothing half written stays.
    """
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name} is not a snapshot's name")
    seen = _seen(await save_snapshot(client, folder, name, report=report))
    assert seen is not None, "its name and size were looked at before"
    return seen


async def save_snapshot(client: EtcdClient, folder: Path, name: str, *, report: Report) -> Path:
    """`take_snapshot` under any name. A member answers it also where there is no quorum (rule 62)."""
    target, part = folder / name, folder / f".{name}.part"
    with _explained(folder):
        _prepare(folder, name)
        await _check_free_space(client, folder)
        try:
            await _stream(client, part, report)
            report(f"verifying {name}")
            await asyncio.to_thread(_verify, part, client.name)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)
        _sync(folder)
    return target


async def _check_free_space(client: EtcdClient, folder: Path) -> None:
    """Raises before the operator's disk is filled up, rather than after."""
    size = (await client.status(timeout_s=STATUS_S)).db_size
    free = shutil.disk_usage(folder).free
    if size > free:
        raise _no_space(folder, f"the snapshot needs {_mib(size)}, {_mib(free)} are free")


async def _stream(client: EtcdClient, part: Path, report: Report) -> None:
    async with aclosing(client.snapshot(timeout_s=STALL_S)) as stream:
        await _write(stream, client.name, part, report)


async def _write(stream: AsyncIterator[bytes], member: str, part: Path, report: Report) -> None:
    got = told = 0
    with _create_private_file(part).open("wb") as file:
        async for blob in stream:
            file.write(blob)
            got += len(blob)
            if got - told >= _REPORT_BYTES:
                told = got
                report(f"snapshot from {member}: {_mib(got)}")


def _create_private_file(path: Path) -> Path:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def _verify(part: Path, member: str) -> None:
    """Puts the file on the disk, reads it back and compares it with the checksum at its end (rule 54)."""
    digest = hashlib.sha256()
    with part.open("rb") as file:
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        left = size - _HASH_BYTES
        while left > 0 and (chunk := file.read(min(left, _MIB))):
            digest.update(chunk)
            left -= len(chunk)
        ending = file.read()
    if not _can_be_whole(size) or digest.digest() != ending:
        raise EtcdupError(
            f"the snapshot from {member} is damaged: its {size} bytes do not have the checksum that they end with",
            hint="try again; if it stays so, the member's disk or the way to it is at fault: look at another member",
        )


def _can_be_whole(size: int) -> bool:
    """A database is whole pages; its checksum follows (rule 54)."""
    return size > _HASH_BYTES and size % _PAGE_BYTES == _HASH_BYTES


def _seen(path: Path) -> SnapshotSeen | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    try:
        size = path.stat().st_size
        taken_at = datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)
    except (OSError, ValueError):
        return None
    if not path.is_file() or not _can_be_whole(size):
        return None
    return SnapshotSeen(str(path), match["cluster"], match["hop"], taken_at, size)


def _prepare(folder: Path, name: str) -> None:
    """Makes the folder, and removes what a killed run left of this cluster's snapshots: the cluster's lock keeps
    others from making one now."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = _NAME.fullmatch(name)
    for left in folder.glob(".*.db.part"):
        match = _NAME.fullmatch(left.name[1:].removesuffix(".part"))
        if own and match and match["cluster"] == own["cluster"]:
            left.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The new name survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # some file systems do not know it for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Every way in which the operator's disk fails, with the folder's name."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(folder, "the disk is full") from None
        raise EtcdupError(
            f"no snapshot can be written to {folder}: {error.strerror}",
            hint="the snapshot is a file on this machine: make the folder writable, or name another in `backup.to`",
        ) from None


def _no_space(folder: Path, why: str) -> EtcdupError:
    return EtcdupError(
        f"no room for a snapshot in {folder}: {why}",
        hint="make room on this machine, or name a folder on another disk in `backup.to`",
    )


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB"
