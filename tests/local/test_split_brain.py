"""Rule 65 with plain etcd, without the startup fence: why `recover` requires that all other old members are off.

tests/lab/test_recover.py has the test with the fence, on real machines, where both old members return at once.
"""

import signal
import time
from pathlib import Path

import pytest

from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

VERSIONS = ("3.5.33", "3.6.14")
S = 10.0
END_S = 60.0
OTHERS = ("m2", "m3")


@pytest.mark.parametrize("version", one_in_turn(*VERSIONS))
async def test_two_old_members_and_the_survivor_both_accept_writes(version: str, tmp_path: Path) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(version), tmp_path) as cluster:
        async with cluster.client("m1") as survivor:
            before = await survivor.status(timeout_s=S)
        for name in cluster.members:
            cluster.members[name].stop(signal.SIGKILL)
        force_alone(cluster, "m1")
        async with cluster.client("m1") as survivor:
            await survivor.put(b"written to", b"the survivor", timeout_s=S)
            after = await survivor.status(timeout_s=S)
        assert [each.name for each in after.members] == ["m1"]
        assert after.cluster_id == before.cluster_id, "the two clusters have the same ID (rule 64)"

        with cluster.members["m1"].paused():
            cluster.start(*OTHERS)
            cluster.wait_healthy(*OTHERS)
            async with cluster.client("m2") as returned:
                await returned.put(b"written to", b"the two", timeout_s=S)
                assert await returned.get(b"written to", timeout_s=S) == b"the two"
        # Both writes were acknowledged. When the members connect again, the survivor rejects the other two members, and
        # their writes are lost.
        for name in OTHERS:
            wait_for_end(cluster, name)
        async with cluster.client("m1") as survivor:
            assert await survivor.get(b"written to", timeout_s=S) == b"the survivor"


def force_alone(cluster: EtcdCluster, name: str) -> None:
    """Start the member with `--force-new-cluster`, which rule 63 advises against."""
    cluster.extra = ("--force-new-cluster",)
    cluster.start(name)
    cluster.wait_healthy(name)
    cluster.extra = ()


def wait_for_end(cluster: EtcdCluster, name: str) -> None:
    process = cluster.members[name].process
    assert process is not None
    deadline = time.monotonic() + END_S
    while process.poll() is None:
        assert time.monotonic() < deadline, (
            f"{name} still runs; its log ends with:\n{cluster.members[name].log[-2000:]}"
        )
        time.sleep(0.1)
