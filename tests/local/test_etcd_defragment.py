"""A defragmentation on a real member: it blocks the member, and outlives the client that gave up."""

import asyncio
from pathlib import Path

import pytest

from etcdup.remote.etcd.errors import EtcdTimeout
from tests.support.etcd_cluster import etcd_cluster

S = 60.0
SIZE, COUNT = 1_000_000, 150


async def test_a_defragmentation_blocks_its_member_and_outlives_its_client(
    binaries: Path, tmp_path: Path
) -> None:
    """Rules 73 and 74."""
    with etcd_cluster(binaries, tmp_path, 1) as alone:
        async with alone.client("m1") as client, alone.client("m1") as other:
            for number in range(2 * COUNT):
                await client.put(b"big/%d" % (number % COUNT), bytes(SIZE), timeout_s=S)
            await client.compact(await client.revision(timeout_s=S), timeout_s=S)
            before = (await client.status(timeout_s=S)).db_size
            await other.put(b"small", b"connected", timeout_s=S)
            with pytest.raises(EtcdTimeout):
                await client.defragment(timeout_s=0.02)
            with pytest.raises(EtcdTimeout):
                await other.put(b"small", b"blocked", timeout_s=0.05)
            deadline = asyncio.get_running_loop().time() + S
            while (await other.status(timeout_s=S)).db_size > before * 3 / 4:
                assert asyncio.get_running_loop().time() < deadline, "it did not continue"
                await asyncio.sleep(0.05)
            await client.prove(b"proof", b"again", timeout_s=S)
