"""The end of a real write-ahead log: an entry that the member has, without a record that it is committed.

If one other member has the entry too, it is acknowledged. A power cut may lose the commit record on both members. Plain
`--force-new-cluster` drops such an entry. With the record that `wal.py` appends, it is kept.
"""

import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from etcdup.core.etcd.wal import LastEntry, LogEnd, commit_record, parse_log_end
from etcdup.remote.etcd.errors import EtcdRpcError
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

# The oldest and the newest version. tests/cli/restore/test_salvage.py tests all versions.
VERSIONS = ("3.4.23", "3.7.1")
S = 10.0


@pytest.fixture(params=one_in_turn(*VERSIONS))
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EtcdCluster]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(request.param), tmp_path) as running:
        yield running


async def test_one_record_keeps_the_entries_after_the_last_commit(cluster: EtcdCluster) -> None:
    leader = await find_leader(cluster)
    async with cluster.client(leader) as client:
        for number in range(20):
            await client.put(b"key%d" % number, b"v", timeout_s=S)
        before = await client.status(timeout_s=S)
        others = [each for each in cluster.members if each != leader]
        for name in others:
            process = cluster.members[name].process
            assert process is not None
            process.send_signal(signal.SIGSTOP)
        with suppress(EtcdRpcError):
            await client.put(b"at the end", b"v", timeout_s=1.0)
        for name in (leader, *others):
            cluster.members[name].stop(signal.SIGKILL)
    log = last_file(cluster, leader)
    end = parse_log_end(log.read_bytes())
    assert end.last is not None
    assert end.last == LastEntry(before.raft_term, before.raft_index + 1)
    assert end.commit == before.raft_index
    assert end.size < len(log.read_bytes().rstrip(b"\0")) + 8
    assert_torn_end_ignored(log.read_bytes())

    kept = cluster.folder / "kept"
    shutil.copytree(cluster.members[leader].folder / "data", kept)
    assert not await has_key(cluster, leader, b"at the end"), (
        "etcd itself drops entries without a commit record"
    )

    shutil.rmtree(cluster.members[leader].folder / "data")
    kept.rename(cluster.members[leader].folder / "data")
    with log.open("r+b") as file:
        file.truncate(end.size)
        file.seek(end.size)
        file.write(commit_record(end, end.last))
    again = parse_log_end(log.read_bytes())
    assert (again.commit, again.last, again.vote) == (end.last.index, end.last, end.vote)
    assert commit_record(again, end.last) == b""
    assert await has_key(cluster, leader, b"at the end")


def assert_torn_end_ignored(file: bytes) -> None:
    whole = parse_log_end(file)
    ends = [parse_log_end(each) for each in prefixes(file, whole)]
    assert len(ends) > 20
    torn = bytearray(file)
    torn[whole.size - 8 : whole.size] = b"\xff" * 8
    assert parse_log_end(bytes(torn)) == ends[-2]
    with pytest.raises(ValueError):
        parse_log_end(b"\0" * 4096)


def prefixes(file: bytes, whole: LogEnd) -> list[bytes]:
    """Return the file as it was after each of its records."""
    found, at = [], 0
    while at < whole.size:
        size = int.from_bytes(file[at : at + 7], "little")
        at += 8 + size + (file[at + 7] & 7)
        found.append(file[:at])
    return found


async def find_leader(cluster: EtcdCluster) -> str:
    for name in cluster.members:
        async with cluster.client(name) as client:
            seen = await client.status(timeout_s=S)
            if seen.leader_id == seen.member_id:
                return name
    raise AssertionError("no member is the leader")


def last_file(cluster: EtcdCluster, name: str) -> Path:
    return max((cluster.members[name].folder / "data/member/wal").glob("*.wal"))


async def has_key(cluster: EtcdCluster, name: str, key: bytes) -> bool:
    """Start a cluster of only this member, and return whether it has the key. Stop etcd afterwards."""
    cluster.extra = ("--force-new-cluster",)
    cluster.start(name)
    cluster.wait_healthy(name)
    try:
        async with cluster.client(name) as client:
            return await client.get(key, timeout_s=S) is not None
    finally:
        cluster.members[name].stop(signal.SIGKILL)
