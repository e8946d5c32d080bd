"""The bench's writers on a real member: lost and failed writes are reported."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.bench.writers import Writer
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

VERSION = "3.6.14"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    if reason := why_not(VERSION):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(VERSION), tmp_path_factory.mktemp("cluster"), size=1) as running:
        yield running


async def test_acknowledged_writes_that_are_gone_or_changed_are_lost(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        writer, stop = Writer("lost", client), asyncio.Event()
        writing = asyncio.create_task(writer.write_until(stop))
        await asyncio.sleep(0.2)
        stop.set()
        await writing
        assert (await writer.read_back()).lost == ()
        await client.delete(b"lost/m1/1", timeout_s=5)
        await client.put(b"lost/m1/3", b"4", timeout_s=5)
        assert (await writer.read_back()).lost == ("lost/m1/1", "lost/m1/3")


async def test_failures_are_recorded_and_writing_continues(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        writer, stop = Writer("failed", client), asyncio.Event()
        writing = asyncio.create_task(writer.write_until(stop))
        await writer.first.wait()
        await asyncio.to_thread(cluster.members["m1"].stop)
        await asyncio.to_thread(cluster.start, "m1")
        await asyncio.to_thread(cluster.wait_healthy)
        await asyncio.sleep(1)
        stop.set()
        await writing
        seen = await writer.read_back()
    failed = [attempt for attempt in seen.attempts if attempt.error]
    assert failed
    assert failed[0].error.startswith("EtcdUnavailable: m1: ")
    assert not seen.attempts[-1].error
    assert seen.lost == ()
