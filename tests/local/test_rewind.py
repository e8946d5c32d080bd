"""Real etcd of each minor starts on files that etcdup writes, with the keys and the hash of the revision.

`bbolt check` reports nothing about these files, and nothing about the databases of the members afterwards.
"""

import json
import random
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.backups.old_keys import find_rows, read_rows
from etcdup.core.backups.rewind import available_revisions
from etcdup.core.maintain.space import measure_space
from etcdup.errors import RefusedError
from etcdup.ops.backups.rewrite import rewrite_snapshot
from etcdup.ops.backups.snapshot import save_snapshot
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.remote.etcd.client import KvHash
from etcdup.remote.etcd.grpc_client import Etcd
from etcdup.remote.etcd.grpc_library import pb
from tests.support.bbolt_check import bbolt_check
from tests.support.etcd_binaries import why_no_bbolt
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster, run_tool
from tests.support.loopback_networks import own_network

pytestmark = pytest.mark.skipif(bool(why_no_bbolt()), reason=str(why_no_bbolt()))

S = 60.0
CHANGES = 150
BUMP = 1_000_000
HISTORY, FIFTY = 300, 50
# Around the borders of a page, and close to the largest request.
SIZES = (0, 1, 20, 300, 3650, 4000, 4090, 9000, 1_400_000)


@dataclass
class Live:
    """What a cluster answered at some revisions, and its snapshot after them. `leased` is the revision with a lease."""

    keys: dict[int, list[dict[str, Any]]]
    hashes: dict[int, KvHash]
    compacted: int
    leased: int
    snapshot: Path


def keys_of(cluster: EtcdCluster, revision: int) -> list[dict[str, Any]]:
    """Return all keys with their revisions, versions and leases at a revision."""
    found = json.loads(cluster.etcdctl("m1", "get", "", "--prefix", f"--rev={revision}", "-w", "json"))
    kvs: list[dict[str, Any]] = found.get("kvs", [])
    return kvs


async def change_keys(cluster: EtcdCluster, client: Etcd, seed: int) -> None:
    chosen = random.Random(seed)
    for number in range(CHANGES):
        key = f"/{chosen.choice('ab')}/{chosen.randrange(12)}"
        if chosen.random() < 0.1:
            cluster.etcdctl("m1", "del", "--prefix", key[:4])
        else:
            await client.put(key.encode(), b"%d" % number + b"x" * chosen.choice(SIZES), timeout_s=S)


async def prepare(cluster: EtcdCluster, folder: Path) -> Live:
    """Change keys, compact in between, and put a key on a lease that is revoked before the snapshot."""
    async with cluster.client("m1") as client:
        await change_keys(cluster, client, 1)
        compacted = await client.revision(timeout_s=S)
        cluster.etcdctl("m1", "compact", "--physical", str(compacted))
        lease = cluster.etcdctl("m1", "lease", "grant", "600").split()[1]
        cluster.etcdctl("m1", "put", f"--lease={lease}", "/leased", "by a process of that time")
        leased = await client.revision(timeout_s=S)
        cluster.etcdctl("m1", "lease", "revoke", lease)
        await change_keys(cluster, client, 2)
        head = await client.revision(timeout_s=S)
        wanted = {compacted, leased, head, *random.Random(3).sample(range(compacted, head), 2)}
        # Up to 3.5, etcd has no hash of the revision of the compaction itself.
        hashes = {each: await client.hash_kv(each, timeout_s=S) for each in wanted - {compacted}}
        keys = {revision: keys_of(cluster, revision) for revision in wanted}
        snapshot = await save_snapshot(client, folder, "source.db", report=print)
    return Live(keys, hashes, compacted, leased, snapshot)


@contextmanager
def restored(binaries: Path, folder: Path, snapshot: Path, *options: str) -> Iterator[EtcdCluster]:
    """Restore a file with the tool of etcd, and start a member on it."""
    folder.mkdir()
    with own_network() as network:
        cluster = EtcdCluster(binaries, folder, network, 1)
        member = cluster.members["m1"]
        run_tool(
            binaries, "snapshot", "restore", str(snapshot), f"--data-dir={member.folder / 'data'}", "--name=m1",
            f"--initial-cluster=m1={member.peer_url}", f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster-token={cluster.token}", *options,
        )  # fmt: skip
        try:
            cluster.start()
            cluster.wait_healthy()
            yield cluster
        finally:
            cluster.stop()
        bbolt_check(member.folder / "data/member/snap/db")


@asynccontextmanager
async def prepared(binaries: Path, folder: Path) -> AsyncIterator[Live]:
    with etcd_cluster(binaries, folder, 1) as cluster:
        live = await prepare(cluster, folder)
    yield live


async def test_a_file_of_a_revision_is_the_cluster_of_that_time(
    binaries: Path, etcd_version: str, tmp_path: Path
) -> None:
    async with prepared(binaries, tmp_path) as live:
        head = max(live.keys)
        with open_database(live.snapshot) as bolt:
            assert available_revisions(bolt) == (live.compacted, head)
            use = measure_space(bolt, live.snapshot.stat().st_size - 32)
        assert use.whole.keys == len(live.keys[head])
        assert use.free_bytes < use.file_bytes
        for revision, keys in live.keys.items():
            target = tmp_path / f"at-{revision}.db"
            await rewrite_snapshot(live.snapshot, target, revision)
            bbolt_check(target)
            # The tool of etcd checks all pages of the file too.
            status = json.loads(run_tool(binaries, "snapshot", "status", str(target), "-w", "json"))
            assert (status["revision"] <= revision, status["totalKey"] > 0) == (True, True)
            with restored(binaries, tmp_path / f"member-{revision}", target) as cluster:
                async with cluster.client("m1") as client:
                    assert await client.revision(timeout_s=S) == revision
                    if revision in live.hashes:
                        assert await client.hash_kv(revision, timeout_s=S) == live.hashes[revision]
                    assert keys_of(cluster, revision) == keys
                    leases = await client.leases(timeout_s=S)
                    leased = {each["lease"] for each in keys if each.get("lease")}
                    assert leased <= set(leases)
                    assert len(leases) == (revision >= live.leased)
                    await client.put(b"/after", b"x" * 5000, timeout_s=S)
                    await client.compact(await client.revision(timeout_s=S), timeout_s=S)
                    await client.defragment(timeout_s=S)
                    assert await client.get(b"/after", timeout_s=S) == b"x" * 5000
        with pytest.raises(RefusedError, match=f"it has revisions {live.compacted} to {head}"):
            await rewrite_snapshot(live.snapshot, tmp_path / "no.db", live.compacted - 1)
        if etcd_version != "3.4.23":
            raised = ("--bump-revision", str(BUMP), "--mark-compacted")
            source = tmp_path / f"at-{live.leased}.db"
            with restored(binaries, tmp_path / "raised", source, *raised) as cluster:
                async with cluster.client("m1") as client:
                    assert await client.revision(timeout_s=S) == live.leased + BUMP
                    assert await client.get(b"/leased", timeout_s=S) == b"by a process of that time"
                    again = await save_snapshot(client, tmp_path, "again.db", report=print)
            with open_database(again) as bolt:
                use = measure_space(bolt, again.stat().st_size - 32)
                assert use.whole.keys == len(live.keys[live.leased])


async def change_at_random(cluster: EtcdCluster, client: Etcd, chosen: random.Random) -> None:
    """Put, delete, delete a range, write several keys in one transaction, and grant and revoke leases."""
    leases: list[str] = []
    for number in range(HISTORY):
        keys = [f"/{chosen.choice('abc')}/{each}".encode() for each in chosen.sample(range(30), 3)]
        value = b"%d" % number + b"x" * chosen.choice(SIZES[:-1])
        kind = chosen.choices(
            ("put", "delete", "range", "transaction", "lease", "revoke"), (12, 3, 1, 4, 1, 1)
        )[0]
        match kind:
            case "put":
                await client.put(keys[0], value, timeout_s=S)
            case "delete":
                await client.delete(keys[0], timeout_s=S)
            case "range":
                cluster.etcdctl("m1", "del", "--prefix", keys[0].decode()[:4])
            case "transaction":
                puts = [pb.RequestOp(request_put=pb.PutRequest(key=key, value=value)) for key in keys]
                await client._call(client._kv.Txn, pb.TxnRequest(success=puts), S)
            case "lease":
                leases.append(cluster.etcdctl("m1", "lease", "grant", "600").split()[1])
                cluster.etcdctl("m1", "put", f"--lease={leases[-1]}", keys[0].decode(), "leased")
            case "revoke" if leases:
                cluster.etcdctl("m1", "lease", "revoke", leases.pop())
        if number == HISTORY // 3:
            await client.compact(await client.revision(timeout_s=S), timeout_s=S)


async def test_fifty_random_revisions_have_the_keys_of_their_time(binaries: Path, tmp_path: Path) -> None:
    """Each key, value and lease is what a range at that revision returned."""
    chosen = random.Random(FIFTY)
    with etcd_cluster(binaries, tmp_path, 1) as cluster:
        async with cluster.client("m1") as client:
            await change_at_random(cluster, client, chosen)
            head = await client.revision(timeout_s=S)
            snapshot = await save_snapshot(client, tmp_path, "source.db", report=print)
            with open_database(snapshot) as bolt:
                first, last = available_revisions(bolt)
            assert last == head
            wanted = chosen.sample(range(first, head + 1), FIFTY)
            live = {revision: keys_of(cluster, revision) for revision in wanted}
    for revision, keys in live.items():
        target = tmp_path / f"at-{revision}.db"
        await rewrite_snapshot(snapshot, target, revision)
        bbolt_check(target)
        with open_database(target) as bolt:
            rows = find_rows(bolt, head, b"")
            assert rows is not None
            found = {old.key: (old.value, old.lease) for old in read_rows(bolt, rows)}
        target.unlink()
        assert found == {
            b64decode(each["key"]): (b64decode(each.get("value", "")), each.get("lease", 0)) for each in keys
        }


async def test_a_compacted_copy_is_the_same_cluster(binaries: Path, tmp_path: Path) -> None:
    async with prepared(binaries, tmp_path) as live:
        target, head = tmp_path / "smaller.db", max(live.keys)
        await rewrite_snapshot(live.snapshot, target)
        assert target.stat().st_size < live.snapshot.stat().st_size
        bbolt_check(target)
        with restored(binaries, tmp_path / "member", target) as cluster:
            async with cluster.client("m1") as client:
                assert await client.hash_kv(head, timeout_s=S) == live.hashes[head]
