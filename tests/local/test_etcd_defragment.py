"""A defragmentation on real members: it blocks its member, outlives its client, and waits for open snapshots."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from etcdup.core.audit.inspection import parse_leaders
from etcdup.core.observed.activity import Activity, parse_activity
from etcdup.ops.world.metrics import read_metrics
from etcdup.remote.etcd.errors import EtcdTimeout
from etcdup.remote.etcd.grpc_client import Etcd
from etcdup.remote.local import LocalHost
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

S = 60.0
SIZE, COUNT = 1_000_000, 150


@contextlib.contextmanager
def one_member(binaries: Path, folder: Path) -> Iterator[EtcdCluster]:
    with etcd_cluster(binaries, folder, 1) as alone:
        yield alone


async def fill(client: Etcd, count: int = COUNT) -> int:
    """Write twice as much as there is, and compact it. Return the size of the database."""
    for number in range(2 * count):
        await client.put(b"big/%d" % (number % count), bytes(SIZE), timeout_s=S)
    await client.compact(await client.revision(timeout_s=S), timeout_s=S)
    return (await client.status(timeout_s=S)).db_size


async def metrics_of(cluster: EtcdCluster) -> str:
    """Return the metrics of m1, which are on its client port."""

    def tls() -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(cluster.folder / "ca.pem"))
        context.load_cert_chain(cluster.folder / "root.pem", cluster.folder / "root-key.pem")
        return context

    settings = {"listen-client-urls": cluster.members["m1"].client_url}
    return await read_metrics(LocalHost("m1"), settings, tls)


async def activity_of(cluster: EtcdCluster) -> Activity | None:
    return parse_activity(await metrics_of(cluster))


async def test_the_metrics_have_the_number_of_defragmentations(binaries: Path, tmp_path: Path) -> None:
    with one_member(binaries, tmp_path) as alone:
        async with alone.client("m1") as client:
            for count in range(3):
                assert parse_leaders("m1", await metrics_of(alone), time.time()).defrags == count
                await client.defragment(timeout_s=S)


async def wait_for(cluster: EtcdCluster, expected: Activity) -> None:
    deadline = asyncio.get_running_loop().time() + S
    while (found := await activity_of(cluster)) != expected:
        assert asyncio.get_running_loop().time() < deadline, found
        await asyncio.sleep(0.01)


async def test_a_defragmentation_blocks_its_member_and_outlives_its_client(
    binaries: Path, tmp_path: Path
) -> None:
    """Rules 73 and 74. The metrics show it, and answer while the member is blocked."""
    with one_member(binaries, tmp_path) as alone:
        async with alone.client("m1") as client, alone.client("m1") as other:
            before = await fill(client)
            assert await activity_of(alone) == Activity()
            await other.put(b"small", b"connected", timeout_s=S)
            with pytest.raises(EtcdTimeout):
                await client.defragment(timeout_s=0.02)
            assert await activity_of(alone) == Activity(defragments=True)
            with pytest.raises(EtcdTimeout):
                await other.put(b"small", b"blocked", timeout_s=0.05)
            await wait_for(alone, Activity())
            assert (await other.status(timeout_s=S)).db_size < before * 3 / 4
            await client.prove(b"proof", b"again", timeout_s=S)


async def test_a_defragmentation_waits_for_an_open_snapshot(binaries: Path, tmp_path: Path) -> None:
    """The member is blocked until the reader of the snapshot ends. The metrics show the stream before."""
    with one_member(binaries, tmp_path) as alone:
        async with alone.client("m1") as client, alone.client("m1") as other:
            await fill(client)
            await other.put(b"small", b"connected", timeout_s=S)
            async with aclosing(client.snapshot(timeout_s=S)) as pieces:
                await anext(pieces)
                assert await activity_of(alone) == Activity(snapshots=1)
                with pytest.raises(EtcdTimeout):
                    await client.defragment(timeout_s=10.0)
                with pytest.raises(EtcdTimeout):
                    await other.put(b"small", b"blocked", timeout_s=5.0)
                assert await activity_of(alone) == Activity(defragments=True, snapshots=1)
            await wait_for(alone, Activity())
            await client.prove(b"proof", b"again", timeout_s=S)


async def test_a_snapshot_begins_after_a_defragmentation(binaries: Path, tmp_path: Path) -> None:
    """So a backup avoids a member that is being defragmented."""
    with one_member(binaries, tmp_path) as alone:
        async with alone.client("m1") as client, alone.client("m1") as other:
            await fill(client)
            with pytest.raises(EtcdTimeout):
                await client.defragment(timeout_s=0.02)
            assert await activity_of(alone) == Activity(defragments=True)
            async with aclosing(other.snapshot(timeout_s=S)) as pieces:
                await anext(pieces)
                assert not (await activity_of(alone) or Activity(defragments=True)).defragments
