"""Snapshots from a real member into a folder of the operator: a snapshot is complete or does not exist."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etcdup.core.observed.member import MemberSeen
from etcdup.errors import EtcdupError
from etcdup.ops.backups.snapshot import find_snapshots, snapshot_name, take_snapshot
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdTimeout
from etcdup.remote.etcd.grpc_client import Etcd
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.texts import Texts

VERSION = "3.6.14"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
NAME = "prod-3.6-to-3.7-20261122T120000Z.db"
S = 10.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if reason := why_not(VERSION):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(VERSION), tmp_path_factory.mktemp("cluster"), 1) as running:
        yield running


async def _small(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return smaller pieces, so that the stream looks like that of a larger database."""
    async for piece in pieces:
        for start in range(0, len(piece), 32 << 10):
            yield piece[start : start + (32 << 10)]


class TamperedEtcd(Etcd):
    """A real member whose stream can be changed, cut or stopped."""

    drop_after = -1
    flip_at = -1
    fail_after = -1
    waiting: asyncio.Event | None = None

    async def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        async with aclosing(super().snapshot(timeout_s=timeout_s)) as pieces:
            async for piece in self._tampered(_small(pieces)):
                yield piece

    async def _tampered(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        got = 0
        async for blob in pieces:
            if self.waiting and got:
                self.waiting.set()
                await asyncio.sleep(60)
            if 0 <= self.fail_after <= got:
                raise EtcdTimeout(self.name, "no part of the snapshot arrived for 30 s")
            if 0 <= self.drop_after <= got:
                return
            yield self._flipped(blob, got)
            got += len(blob)

    def _flipped(self, blob: bytes, start: int) -> bytes:
        place = self.flip_at - start
        if not 0 <= place < len(blob):
            return blob
        return blob[:place] + bytes([blob[place] ^ 1]) + blob[place + 1 :]


@pytest.fixture
async def member(cluster: EtcdCluster) -> AsyncIterator[TamperedEtcd]:
    place = cluster.members["m1"]
    client = TamperedEtcd("m1", place.target, place.address, cluster.credentials)
    await client.put(b"large", os.urandom(1_000_000), timeout_s=S)
    yield client
    await client.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def can_be_restored(cluster: EtcdCluster, snapshot: str, data: Path) -> bool:
    argv = [str(cluster.binaries / "etcdutl"), "snapshot", "restore", snapshot, "--data-dir", str(data)]
    return subprocess.run(argv, capture_output=True, timeout=60).returncode == 0


def quiet(_: str) -> None:
    """Ignore the report."""


async def expect_failure(client: EtcdClient, folder: Path) -> EtcdupError:
    """Return the error of a failed snapshot. Afterwards the folder has no snapshot and no partial file."""
    with pytest.raises(EtcdupError) as caught:
        await take_snapshot(client, folder, NAME, report=quiet)
    assert find_snapshots(folder, "prod") == ()
    assert names(folder) == []
    return caught.value


async def test_a_snapshot_is_complete_and_can_be_restored(
    member: TamperedEtcd, cluster: EtcdCluster, tmp_path: Path
) -> None:
    reports: list[str] = []
    folder = tmp_path / "a" / "backups"
    name = snapshot_name("prod", "3.6-to-3.7", NOON)
    seen = await take_snapshot(member, folder, name, report=reports.append)

    assert seen.path == str(folder / NAME)
    assert (seen.cluster, seen.hop, seen.taken_at) == ("prod", "3.6-to-3.7", NOON)
    assert seen.size > 1_000_000
    assert (mode(folder / NAME), mode(folder)) == (0o600, 0o700)
    assert find_snapshots(folder, "prod") == (seen,)
    assert names(folder) == [NAME]
    assert reports[-1] == f"verifying {NAME}"
    assert can_be_restored(cluster, seen.path, tmp_path / "data")


async def test_a_stream_that_ends_early_is_detected(
    texts: Texts, member: TamperedEtcd, tmp_path: Path
) -> None:
    member.drop_after = 500_000
    error = await expect_failure(member, tmp_path)
    texts(error)


@pytest.mark.parametrize("place", [0, 300_000, 1_000_000])
async def test_one_wrong_bit_is_detected(
    texts: Texts, member: TamperedEtcd, tmp_path: Path, place: int
) -> None:
    member.flip_at = place
    texts(await expect_failure(member, tmp_path))


async def test_an_error_of_the_stream_is_raised_unchanged(member: TamperedEtcd, tmp_path: Path) -> None:
    member.fail_after = 500_000
    assert (await expect_failure(member, tmp_path)).message == "m1: no part of the snapshot arrived for 30 s"


async def test_an_empty_stream_is_not_a_snapshot(texts: Texts, member: TamperedEtcd, tmp_path: Path) -> None:
    member.drop_after = 0
    texts(await expect_failure(member, tmp_path))


async def test_an_interrupted_snapshot_leaves_no_file(member: TamperedEtcd, tmp_path: Path) -> None:
    member.waiting = asyncio.Event()
    task = asyncio.create_task(take_snapshot(member, tmp_path, NAME, report=quiet))
    await asyncio.wait_for(member.waiting.wait(), S)
    assert names(tmp_path) == [f".{NAME}.part"]
    assert find_snapshots(tmp_path, "prod") == ()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert names(tmp_path) == []


async def test_the_next_run_removes_partial_snapshots_of_a_killed_run(
    member: TamperedEtcd, tmp_path: Path
) -> None:
    left = tmp_path / f".{snapshot_name('prod', '3.5-to-3.6', NOON - timedelta(days=1))}.part"
    others = tmp_path / f".{snapshot_name('other', '3.5-to-3.6', NOON)}.part"
    for path in (left, others):
        path.write_bytes(bytes(4096 + 32))
    assert find_snapshots(tmp_path, "prod") == ()
    await take_snapshot(member, tmp_path, NAME, report=quiet)
    assert names(tmp_path) == sorted([NAME, others.name])


class UnderreportingEtcd(TamperedEtcd):
    """A member that reports a smaller size than it sends, like one whose data grows during the snapshot."""

    async def status(self, *, timeout_s: float) -> MemberSeen:
        seen = await super().status(timeout_s=timeout_s)
        return MemberSeen(**{**vars(seen), "db_size": 1})


async def test_a_disk_that_is_too_small_is_not_filled(
    texts: Texts, member: TamperedEtcd, small_disk: Path
) -> None:
    needed = (await member.status(timeout_s=30)).db_size
    error = await expect_failure(member, small_disk)
    texts(error, DISK=small_disk, NEEDED=f"{needed / 2**20:.1f} MiB")


async def test_a_disk_that_becomes_full_is_reported(
    texts: Texts, cluster: EtcdCluster, member: TamperedEtcd, small_disk: Path
) -> None:
    place = cluster.members["m1"]
    client = UnderreportingEtcd("m1", place.target, place.address, cluster.credentials)
    try:
        error = await expect_failure(client, small_disk)
    finally:
        await client.close()
    texts(error, DISK=small_disk)


async def test_a_folder_that_is_a_file_is_reported(
    texts: Texts, member: TamperedEtcd, tmp_path: Path
) -> None:
    file = tmp_path / "backups"
    file.touch()
    with pytest.raises(EtcdupError) as caught:
        await take_snapshot(member, file, NAME, report=quiet)
    texts(caught.value)
    assert find_snapshots(file, "prod") == ()


def test_only_complete_snapshots_of_this_cluster_are_found(tmp_path: Path) -> None:
    assert find_snapshots(tmp_path / "nowhere", "prod") == ()
    whole, torn = bytes(4096 + 32), bytes(4096)
    contents = {
        NAME: whole,
        snapshot_name("prod", "3.5-to-3.6", NOON - timedelta(hours=2)): whole,
        snapshot_name("prod", "3.5-to-3.6", NOON): torn,
        snapshot_name("prod-3.5-to-3.6-x", "3.6-to-3.7", NOON): whole,
        snapshot_name("other", "3.6-to-3.7", NOON): whole,
        "prod-3.6-to-3.7-20261399T120000Z.db": whole,
        "notes.txt": whole,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / snapshot_name("prod", "3.4-to-3.5", NOON)).mkdir()
    found = find_snapshots(tmp_path, "prod")
    assert [(seen.hop, seen.taken_at) for seen in found] == [
        ("3.5-to-3.6", NOON - timedelta(hours=2)),
        ("3.6-to-3.7", NOON),
    ]
    assert [seen.hop for seen in find_snapshots(tmp_path, "prod-3.5-to-3.6-x")] == ["3.6-to-3.7"]
