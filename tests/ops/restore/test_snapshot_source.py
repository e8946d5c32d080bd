"""What `restore` uses as a file and what as a name of a backup, and what it refuses before it reads a database."""

import hashlib
import struct
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pyrage import x25519

from etcdup.core.etcd.bbolt import MAGIC
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import RefusedError, UsageError
from etcdup.ops.backups.destinations import open_destinations
from etcdup.ops.backups.encryption import Identity, encrypt_stream
from etcdup.ops.backups.snapshot_file import read_snapshot
from etcdup.ops.backups.store import ObjectNotFound
from etcdup.ops.restore.snapshot_source import SnapshotSource, fetch_source, read_source
from tests.support.backup_key import TRUST
from tests.support.texts import Texts

NAME = "prod-20261122T120000Z"


def test_a_file_takes_precedence_over_a_backup_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for named in (NAME, "latest"):
        assert SnapshotSource(Path(named), "prod", TRUST).is_in_store
        Path(named).touch()
        assert not SnapshotSource(Path(named), "prod", TRUST).is_in_store
        assert not SnapshotSource(Path("elsewhere") / named, "prod", TRUST).is_in_store
    for named in ("snapshot.db", f"{NAME}.db", "prod-20261122", "./none"):
        assert not SnapshotSource(Path(named), "prod", TRUST).is_in_store


async def test_a_backup_of_another_cluster_is_refused_without_the_flag(texts: Texts, tmp_path: Path) -> None:
    places = open_destinations(BackupSpec(to=("backups",)), tmp_path)
    with pytest.raises(RefusedError) as caught:
        await fetch_source(places, SnapshotSource(Path(NAME), "clone", TRUST), tmp_path, print, print)
    texts(caught.value)
    with pytest.raises(ObjectNotFound) as missing:
        await fetch_source(places, SnapshotSource(Path(NAME), "prod", TRUST), tmp_path, print, print)
    texts(missing.value)


def test_a_file_with_a_valid_checksum_and_no_database_is_refused(texts: Texts, tmp_path: Path) -> None:
    meta = bytearray(16 * 1024)
    for at in (0, 4096):
        struct.pack_into("<IIIIQQQQQ", meta, at + 16, MAGIC, 2, 4096, 0, 3, 0, 0, 0, at)
    path = tmp_path / "snapshot.db"
    for content in (bytes(8192), bytes(meta)):
        path.write_bytes(content + hashlib.sha256(content).digest())
        with pytest.raises(RefusedError) as caught:
            read_snapshot(path)
        texts(caught.value)


async def test_an_encrypted_file_needs_its_own_key_and_must_be_complete(texts: Texts, tmp_path: Path) -> None:
    identity, other = Identity([x25519.Identity.generate()]), Identity([x25519.Identity.generate()])
    path = tmp_path / f"{NAME}.db.age"

    async def plain() -> AsyncGenerator[bytes, None]:
        yield b"no database at all" * 10_000

    cipher = b"".join([piece async for piece in encrypt_stream(plain(), identity.public[0])])
    path.write_bytes(cipher)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(UsageError) as keyless:
        read_source(SnapshotSource(path, "prod", TRUST), scratch)
    texts(keyless.value)
    with pytest.raises(RefusedError) as caught:
        read_source(SnapshotSource(path, "prod", TRUST, other), scratch)
    texts(caught.value, OTHER=other.public[0])
    with pytest.raises(RefusedError) as caught:
        read_source(SnapshotSource(path, "prod", TRUST, identity), scratch)
    texts(caught.value)
    assert (scratch / f"{NAME}.db").stat().st_mode & 0o777 == 0o600
    flipped = bytes([cipher[70_000] ^ 1])
    for damaged in (cipher[:-1], cipher[:70_000] + flipped + cipher[70_001:]):
        path.write_bytes(damaged)
        with pytest.raises(RefusedError) as caught:
            read_source(SnapshotSource(path, "prod", TRUST, identity), scratch)
        texts(caught.value)


def test_a_name_that_is_neither_a_file_nor_a_backup_is_wrong_usage(texts: Texts, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_source(SnapshotSource(Path("nothere"), "prod", TRUST), tmp_path)
    texts(caught.value)
