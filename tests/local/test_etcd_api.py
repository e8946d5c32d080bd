"""remote/etcd/grpc_client.py with real members of the oldest and the newest versions that etcdup supports."""

import asyncio
import contextlib
import hashlib
import os
import signal
from pathlib import Path

import pytest

from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.remote.etcd.errors import (
    AuthRequired,
    EtcdRefused,
    EtcdTimeout,
    EtcdUnavailable,
    EtcdUnsupported,
    NoLeader,
    NoSpace,
)
from etcdup.remote.etcd.grpc_client import Credentials, Etcd, EtcdClient
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.etcd_wait import wait_for_status
from tests.support.texts import Texts

S = 10.0  # more than any call here needs


async def read_statuses(cluster: EtcdCluster) -> dict[str, MemberSeen]:
    seen = {}
    for name in cluster.members:
        async with cluster.client(name) as client:
            seen[name] = await client.status(timeout_s=S)
    return seen


async def find_leader_and_follower(cluster: EtcdCluster) -> tuple[str, str]:
    seen = await read_statuses(cluster)
    (leader,) = [name for name, member in seen.items() if member.member_id == member.leader_id]
    return leader, next(name for name in seen if name != leader)


async def test_status_contains_what_each_member_reports(cluster: EtcdCluster, etcd_version: str) -> None:
    seen = await read_statuses(cluster)

    assert {str(member.version) for member in seen.values()} == {etcd_version}
    assert len({(m.cluster_id, m.leader_id, m.raft_term, m.members) for m in seen.values()}) == 1
    assert {m.leader_id for m in seen.values()} < {m.member_id for m in seen.values()}
    for name, member in seen.items():
        listed = cluster.members[name]
        assert (
            ListedMember(member.member_id, name, (listed.peer_url,), (listed.client_url,), False)
            in member.members
        )
        assert member.applied_index > 0
        assert member.db_size >= member.db_in_use > 0
        assert (member.is_learner, member.alarms, member.errors) == (False, (), ())


async def test_each_member_passes_the_health_proof(cluster: EtcdCluster) -> None:
    for name in cluster.members:
        async with cluster.client(name) as client:
            await client.prove(b"proof", name.encode(), timeout_s=S)
    async with cluster.client("m1") as client:
        assert await client.get(b"proof", timeout_s=S) == b"m3"


async def test_proofs_on_the_same_key_do_not_disturb_each_other(cluster: EtcdCluster) -> None:
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(cluster.client(name)) for name in cluster.members]
        await asyncio.gather(
            *(client.prove(b"proof", str(n).encode(), timeout_s=S) for n in range(20) for client in clients)
        )


async def test_put_get_delete(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as one, cluster.client("m2") as two:
        before = await one.revision(timeout_s=S)
        await one.put(b"k", b"\x00\xff", timeout_s=S)
        assert await two.get(b"k", timeout_s=S) == b"\x00\xff"
        assert await one.delete(b"k", timeout_s=S)
        assert not await one.delete(b"k", timeout_s=S)
        assert await two.get(b"k", timeout_s=S) is None
        assert await two.revision(timeout_s=S) == before + 2


async def test_all_members_return_the_same_member_list(cluster: EtcdCluster) -> None:
    lists = set()
    for name in cluster.members:
        async with cluster.client(name) as client:
            lists |= {
                await client.members(timeout_s=S),
                await client.members(linearizable=False, timeout_s=S),
            }
    (listed,) = lists
    assert {member.name for member in listed} == set(cluster.members)


async def test_only_the_leader_transfers_leadership(cluster: EtcdCluster) -> None:
    leader, follower = await find_leader_and_follower(cluster)
    async with cluster.client(leader) as old, cluster.client(follower) as new:
        target = (await new.status(timeout_s=S)).member_id
        with pytest.raises(EtcdRefused, match="etcdserver: not leader"):
            await new.move_leader(target, timeout_s=S)
        await old.move_leader(target, timeout_s=S)
        await wait_for_status(old, lambda seen: seen.leader_id == target)


async def test_members_have_equal_hashes_at_one_revision(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        await client.put(b"hashed", b"value", timeout_s=S)
        revision = await client.revision(timeout_s=S)
    hashes = []
    for name in cluster.members:
        async with cluster.client(name) as client:
            await client.revision(timeout_s=S)  # a linearizable read: this member has the revision now
            hashes.append(await client.hash_kv(revision, timeout_s=S))
    assert len(set(hashes)) == 1
    assert hashes[0].hash_revision == revision
    async with cluster.client("m1") as client:
        with pytest.raises(EtcdRefused, match="future revision"):
            await client.hash_kv(revision + 1000, timeout_s=S)


async def test_a_snapshot_ends_with_its_own_checksum(cluster: EtcdCluster) -> None:
    async with cluster.client("m2") as client:
        await client.put(b"large", bytes(1_000_000), timeout_s=S)
        content = b"".join([part async for part in client.snapshot(timeout_s=S)])
    assert len(content) > 1_000_000
    assert len(content) % 512 == 32  # rule 54
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]


async def test_a_snapshot_can_be_ended_early(cluster: EtcdCluster) -> None:
    async with cluster.client("m2") as client:
        parts = client.snapshot(timeout_s=S)
        assert await anext(parts)
        await parts.aclose()
        assert await client.status(timeout_s=S)


async def test_a_member_that_dies_ends_a_snapshot(texts: Texts, cluster: EtcdCluster) -> None:
    async with cluster.client("m2") as client:
        for number in range(24):  # more than fits into the buffers
            await client.put(b"large/%d" % number, os.urandom(1 << 20), timeout_s=S)
        parts = client.snapshot(timeout_s=S)
        assert await anext(parts)
        cluster.members["m2"].stop(signal.SIGKILL)
        with pytest.raises(EtcdUnavailable) as caught:
            async for _ in parts:
                pass
    texts(caught.value.message)
    cluster.start("m2")
    cluster.wait_healthy()


async def test_a_silent_member_ends_a_snapshot(texts: Texts, cluster: EtcdCluster) -> None:
    with cluster.members["m2"].paused():
        async with cluster.client("m2") as client:
            with pytest.raises(EtcdTimeout) as caught:
                await anext(client.snapshot(timeout_s=0.5))
    texts(caught.value.message)
    cluster.wait_healthy()


async def test_downgrade_is_validated_enabled_and_cancelled(cluster: EtcdCluster, etcd_version: str) -> None:
    major, minor, _ = (int(part) for part in etcd_version.split("."))
    below, far_below = f"{major}.{minor - 1}.0", f"{major}.{minor - 3}.0"
    async with cluster.client("m1") as client:
        if minor == 4:
            with pytest.raises(EtcdUnsupported):
                await client.downgrade("validate", below, timeout_s=S)
            return
        assert (await client.downgrade("validate", below, timeout_s=S)).startswith(f"{major}.{minor}")
        with pytest.raises(EtcdRefused, match="invalid downgrade target"):
            await client.downgrade("validate", far_below, timeout_s=S)
        if minor > 5:  # 3.5 has the request, but no downgrade: the request times out
            await client.downgrade("enable", below, timeout_s=S)
            await client.downgrade("cancel", "", timeout_s=S)


async def fill_database(client: EtcdClient) -> None:
    for _ in range(40):
        await client.put(b"big", bytes(1_000_000), timeout_s=S)


async def test_a_full_member_raises_an_alarm_that_is_disarmed_in_order(
    binaries: Path, tmp_path: Path
) -> None:
    """Rule 70: compact, defragment, disarm. Then the member accepts writes again."""
    with etcd_cluster(binaries, tmp_path, 1, ["--quota-backend-bytes=8388608"]) as small:
        async with small.client("m1") as client:
            member_id = (await client.status(timeout_s=S)).member_id
            with pytest.raises(EtcdRefused, match="database space exceeded"):
                await fill_database(client)
            expected = (f"NOSPACE on member {member_id:x}",)
            seen = await client.status(timeout_s=S)
            assert seen.alarms == expected
            assert seen.errors == ()
            assert await client.alarms(timeout_s=S) == expected

            await client.compact(await client.revision(timeout_s=S), timeout_s=S)
            await client.defragment(timeout_s=S)
            assert (await client.status(timeout_s=S)).db_size < seen.db_size / 2
            assert await client.disarm("NOSPACE", timeout_s=S) == expected
            assert await client.alarms(timeout_s=S) == (await client.status(timeout_s=S)).alarms == ()
            await client.prove(b"proof", b"again", timeout_s=S)


async def test_enabled_authentication_is_detected(cluster: EtcdCluster) -> None:
    user = cluster.authority.issue("stranger")
    stranger = Credentials(cluster.credentials.ca, user.cert, user.key)
    async with cluster.client("m1") as client, cluster.client("m1", credentials=stranger) as other:
        assert not await client.is_auth_enabled(timeout_s=S)
        cluster.etcdctl("m1", "user", "add", "root:of-a-test")
        cluster.etcdctl("m1", "user", "grant-role", "root", "root")
        cluster.etcdctl("m1", "auth", "enable")
        try:
            assert await client.is_auth_enabled(timeout_s=S)
            assert await other.is_auth_enabled(timeout_s=S)
            await client.prove(b"proof", b"as root", timeout_s=S)
            with pytest.raises(AuthRequired):
                await other.put(b"k", b"v", timeout_s=S)
        finally:
            cluster.etcdctl("m1", "auth", "disable")
        assert not await client.is_auth_enabled(timeout_s=S)


async def test_without_a_quorum_a_member_answers_only_local_requests(cluster: EtcdCluster) -> None:
    """Rule 62: the requests that still work distinguish a lost quorum from an unreachable member."""
    async with cluster.client("m1") as client:
        await client.put(b"k", b"v", timeout_s=S)
        before = await client.status(timeout_s=S)
        with cluster.members["m2"].paused(), cluster.members["m3"].paused():
            with pytest.raises((EtcdTimeout, NoLeader)):
                await client.prove(b"proof", b"lost", timeout_s=2.5)
            seen = await client.status(timeout_s=S)
            assert (seen.leader_id, seen.errors) == (0, ("etcdserver: no leader",))
            assert seen.members == before.members
            assert await client.get(b"k", linearizable=False, timeout_s=S) == b"v"
            assert [part async for part in client.snapshot(timeout_s=S)]
            with pytest.raises((EtcdTimeout, NoLeader)):
                await client.get(b"k", timeout_s=1)
    cluster.wait_healthy()


async def test_a_client_may_be_closed_twice(cluster: EtcdCluster) -> None:
    member = cluster.members["m1"]
    client: EtcdClient = Etcd("m1", member.target, member.address, cluster.credentials)
    await client.status(timeout_s=S)
    await client.close()
    await client.close()


async def test_a_larger_quota_counts_once_each_process_has_it(binaries: Path, tmp_path: Path) -> None:
    """Rules 70, 77: reads and members work during NOSPACE. A restart keeps the alarm, and a disarm ends it."""
    with etcd_cluster(binaries, tmp_path, 3, ["--quota-backend-bytes=8388608"]) as small:
        async with small.client("m1") as client:
            with pytest.raises(NoSpace):
                await fill_database(client)
            await client.get(b"big", timeout_s=S)
            assert await client.disarm("NOSPACE", timeout_s=S)
            with pytest.raises(NoSpace):  # A write raises the alarm again.
                await fill_database(client)
            assert await client.disarm("CORRUPT", timeout_s=S) == ()
            seen = await client.status(timeout_s=S)
            assert seen.alarms
            assert seen.db_quota == (8388608 if seen.version >= (3, 6, 0) else 0)
        small.extra = ("--quota-backend-bytes=67108864",)
        for name in small.members:
            small.members[name].stop()
            small.start(name)
            async with small.client(name) as client:
                await wait_for_status(client, lambda found: bool(found.leader_id))
        async with small.client("m1") as client:
            with pytest.raises(NoSpace):
                await client.put(b"k", b"v", timeout_s=S)
            assert await client.disarm("NOSPACE", timeout_s=S)
            await client.prove(b"proof", b"again", timeout_s=S)
