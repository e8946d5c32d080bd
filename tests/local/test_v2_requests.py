"""What real members do with the requests of the v2 API that 3.5 wrote into their log (core/etcd/replay.py)."""

import asyncio
from pathlib import Path

import pytest

from etcdup.core.etcd.replay import LogPart
from etcdup.ops.polling import WallClock, wait_until
from etcdup.ops.versions.raft_snapshot import read_replay
from etcdup.ops.versions.versions import append_empty_entries
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.local import LocalHost
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

pytestmark = pytest.mark.apart

S = 10.0
COUNT = 50
PATHS = [("3.5.33", "3.6.14", "3.7.1"), ("3.5.33", "3.6.16", "3.7.3")]


def switch(cluster: EtcdCluster, name: str, version: str) -> None:
    cluster.members[name].stop()
    cluster.binaries = etcd_binaries(version)
    cluster.start(name)


async def log_of(cluster: EtcdCluster, name: str) -> LogPart:
    folder = cluster.members[name].folder / "data/member/wal"
    return await read_replay(LocalHost(name, own_folder=True), str(folder), "")


@pytest.mark.parametrize(("low", "middle", "high"), PATHS)
async def test_3_7_panics_at_requests_of_3_5_until_the_log_is_proved(
    low: str, middle: str, high: str, tmp_path: Path
) -> None:
    """Also the log of a member that joined with 3.6 has these requests."""
    for version in (low, middle, high):
        if reason := why_not(version):
            pytest.skip(reason)
    with etcd_cluster(etcd_binaries(low), tmp_path, 1, [f"--snapshot-count={COUNT}"]) as cluster:
        switch(cluster, "m1", middle)
        cluster.wait_healthy("m1")
        await add_member(cluster)
        for name in cluster.members:
            assert (await log_of(cluster, name)).reads_v2

        switch(cluster, "m2", high)
        process = cluster.members["m2"].process
        assert process is not None
        assert await asyncio.to_thread(process.wait, S) != 0
        assert "cannot parse invalid wire-format data" in cluster.members["m2"].log

        switch(cluster, "m2", middle)
        cluster.wait_healthy()
        async with cluster.client("m1") as one, cluster.client("m2") as other:
            await append_empty_entries({"m1": one, "m2": other}, COUNT + 1, clock=WallClock())
        for name in cluster.members:
            await wait_until(WallClock(), lambda name=name: is_proved(cluster, name), S)  # type: ignore[misc]
            assert (await log_of(cluster, name)).starts_without_v2
            switch(cluster, name, high)
            cluster.wait_healthy()


async def is_proved(cluster: EtcdCluster, name: str) -> bool:
    return (await log_of(cluster, name)).starts_without_v2


async def add_member(cluster: EtcdCluster) -> None:
    """Add a second voter, which copies the log of the first one."""
    member = cluster.new_member()
    async with cluster.client("m1") as client:
        added = await client.add_learner([member.peer_url], timeout_s=S)
        initial = {each.name: each.peer_url for each in cluster.members.values()}
        cluster.start(member.name, initial=initial)
        await asyncio.to_thread(cluster.wait_healthy, "m1")

        async def is_promoted() -> bool:
            try:
                await client.promote(added.member_id, timeout_s=S)
            except EtcdRpcError:
                return False
            return True

        assert await wait_until(WallClock(), is_promoted, S)
    cluster.wait_healthy()
