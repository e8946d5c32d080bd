"""The alarms in the snapshot of a real cluster, and a copy of the snapshot without them."""

from pathlib import Path

from etcdup.ops.backups.rewrite import rewrite_snapshot
from etcdup.ops.backups.snapshot import save_snapshot
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.remote.etcd.grpc_library import pb
from tests.local.test_rewind import restored
from tests.support.etcd_cluster import etcd_cluster

S = 20.0
KINDS = (pb.AlarmType.NOSPACE, pb.AlarmType.CORRUPT)


async def test_the_alarms_of_a_snapshot_are_read_and_left_out(binaries: Path, tmp_path: Path) -> None:
    with etcd_cluster(binaries, tmp_path, 1) as cluster:
        async with cluster.client("m1") as client:
            await client.put(b"/a", b"1", timeout_s=S)
            hashed = await client.hash_kv(timeout_s=S)
            member = (await client.status(timeout_s=S)).member_id
            for kind in KINDS:
                request = pb.AlarmRequest(action=pb.AlarmRequest.ACTIVATE, memberID=member, alarm=kind)
                await client._call(client._maintenance.Alarm, request, S)
            raised = await client.alarms(timeout_s=S)
            path = await save_snapshot(client, tmp_path, "source.db", report=print)
    assert len(raised) == len(KINDS)
    snapshot = read_snapshot(path)
    assert sorted(snapshot.alarms) == sorted(raised)
    copy = tmp_path / "without.db"
    await rewrite_snapshot(path, copy, alarms=False)
    assert read_snapshot(copy).alarms == ()
    with restored(binaries, tmp_path / "member", copy) as cluster:
        async with cluster.client("m1") as client:
            assert await client.alarms(timeout_s=S) == ()
            assert (await client.hash_kv(hashed.hash_revision, timeout_s=S)).hash == hashed.hash
            await client.put(b"/b", b"2", timeout_s=S)
