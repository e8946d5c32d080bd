"""What a host, a store or an archive sends is bounded."""

import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.backups.backups import InvalidManifest, Manifest, manifest_text, read_manifest
from etcdup.core.spec.version import Version
from etcdup.errors import EtcdupError, OutputTooLong
from etcdup.ops.backups.open_store import open_store
from etcdup.ops.backups.snapshot import refuse_endless_snapshot
from etcdup.ops.backups.store import TEXT_LIMIT, StoreError
from etcdup.ops.install import archive
from etcdup.remote.local import LocalHost
from tests.hostile.test_markers import HOSTILE, SPEC

NAME = "prod-20261122T120000Z"
WHOLE = Manifest(
    NAME, "prod", "7f", "infra1", {"infra1": "1"}, "3.6.14", datetime(2026, 11, 22, 12, tzinfo=UTC), 20_512,
    "ab" * 32, 7, 3, 12, -1, NAME,
)  # fmt: skip


async def test_the_output_of_a_command_is_bounded() -> None:
    host = LocalHost("infra1", own_folder=True)
    for program in ("cat /dev/zero", "cat /dev/zero >&2"):
        with pytest.raises(OutputTooLong):
            await host.run(("sh", "-c", program), most_bytes=1 << 20)
    assert len((await host.run(("head", "-c", "1000", "/dev/zero"), most_bytes=1000)).stdout) == 1000


def test_a_manifest_is_read_back() -> None:
    assert read_manifest(manifest_text(WHOLE).encode(), NAME) == WHOLE


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(json.loads(manifest_text(WHOLE)))), HOSTILE)
def test_any_value_in_a_manifest(key: str, value: Any) -> None:
    text = json.dumps(json.loads(manifest_text(WHOLE)) | {key: value})
    try:
        manifest = read_manifest(text.encode(), NAME)
    except InvalidManifest:
        return
    assert manifest.name == NAME
    assert manifest.taken_at < datetime(9999, 12, 31, 23, tzinfo=UTC)
    assert manifest_text(manifest)


@pytest.mark.parametrize("key", ["signed", "signature", "other", "\x1b[2J"])
def test_an_unknown_key_in_a_manifest(key: str) -> None:
    text = json.dumps(json.loads(manifest_text(WHOLE)) | {key: True})
    with pytest.raises(InvalidManifest):
        read_manifest(text.encode(), NAME)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "7", '"x"', "null", '{"format": 2}', "\xff"])
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises(InvalidManifest):
        read_manifest(text.encode("latin-1"), NAME)


async def test_a_large_object_is_no_manifest(tmp_path: Path) -> None:
    store = open_store(SPEC.backup, str(tmp_path), tmp_path)
    (tmp_path / "x.json").write_bytes(b"x" * (TEXT_LIMIT + 1))
    with pytest.raises(StoreError):
        await store.read_text("x.json")


def test_a_program_in_an_archive_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small archive can unpack to any size."""
    monkeypatch.setattr(archive, "MOST_BYTES", 1 << 20)
    bomb = tmp_path / "etcd.tar.gz"
    with tarfile.open(bomb, "w:gz") as tar:
        entry = tarfile.TarInfo("x/etcd")
        entry.size = 4 << 20
        tar.addfile(entry, io.BytesIO(bytes(entry.size)))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(tarfile.TarError):
        archive.unpack_tools(bomb, Version(3, 6, 14), tmp_path)


def test_headers_of_an_archive_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tarfile reads the long name of an entry into memory."""
    monkeypatch.setattr(archive, "MOST_BYTES", 1 << 20)
    bomb = tmp_path / "etcd.tar.gz"
    with tarfile.open(bomb, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("x" * (4 << 20)))
    with pytest.raises(tarfile.TarError):
        archive.unpack_tools(bomb, Version(3, 6, 14), tmp_path)


def test_a_snapshot_is_bounded_by_the_database() -> None:
    refuse_endless_snapshot("infra1", 3 << 30, 1 << 30)
    with pytest.raises(EtcdupError):
        refuse_endless_snapshot("infra1", (3 << 30) + 1, 1 << 30)
