"""List, verify, fetch and delete the backups of a store. take.py writes them."""

import asyncio
import os
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from pathlib import Path

from etcdup.core.backups.backups import (
    DATABASE,
    HASH_BYTES,
    MANIFEST,
    PROOF,
    SEALED,
    BackupEntry,
    InvalidManifest,
    Manifest,
    read_manifest,
    whole_backups,
)
from etcdup.core.etcd.bbolt import Read, newest_revision, open_bolt
from etcdup.core.spec.units import show_size
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.backups.checksum import StreamChecksum
from etcdup.ops.backups.encryption import DecryptionFailed, Identity, decrypt_stream
from etcdup.ops.backups.store import ObjectNotFound, Store, StoreError
from etcdup.ops.files import publish

Report = Callable[[str], None]
Stream = AsyncGenerator[bytes, None]

# Progress is reported each time after this number of bytes.
REPORT_BYTES = 16 << 20


class Damaged(EtcdupError):
    """The content of the store differs from the backup that was taken."""


async def checksummed(source: Stream, checksum: StreamChecksum) -> Stream:
    """Return the same stream. Each piece also updates `checksum`."""
    async with aclosing(source):
        async for piece in source:
            checksum.update(piece)
            yield piece


async def list_backups(store: Store, cluster: str) -> tuple[BackupEntry, ...]:
    """Return the complete backups of this cluster, oldest first. Other objects in the store are ignored."""
    return whole_backups(await store.list_names(), cluster)


async def load_manifest(store: Store, name: str) -> Manifest:
    """Return the manifest of a backup. Raises Damaged."""
    try:
        return read_manifest(await store.read_text(name + MANIFEST), name)
    except InvalidManifest as error:
        raise Damaged(f"the manifest of {name} in {store.destination} is not usable: {error}") from None


async def verify(store: Store, name: str, *, report: Report, identity: Identity | None = None) -> Manifest:
    """Read the whole backup and return its manifest. Raises Damaged, with the difference.

    Without an identity, of an encrypted backup only the encrypted bytes are compared.
    """
    manifest = await load_manifest(store, name)
    await read_back(store, manifest, report, identity)
    return manifest


async def read_back(
    store: Store, manifest: Manifest, report: Report, identity: Identity | None = None
) -> None:
    """Read the backup back and compare it with the manifest. Raises Damaged."""
    content = (
        _read_database(store, manifest, report, identity)
        if identity
        else _read_stored(store, manifest, report)
    )
    async with aclosing(content):
        async for _ in content:
            pass
    if not manifest.encrypted_to:
        await _check_revision(store, manifest)


async def _check_revision(store: Store, manifest: Manifest) -> None:
    """Compare the newest revision in the database with the manifest, with a few small reads.

    Only the drill compares the number of keys: that needs the whole database.
    """
    end = manifest.size - HASH_BYTES

    def read_newest_revision(read: Read) -> int:
        return newest_revision(open_bolt(lambda start, stop: read(start, min(stop, end))))

    try:
        newest = await store.read_parts(manifest.database, read_newest_revision)
    except (ValueError, struct.error, IndexError) as error:
        raise _damaged(store, manifest, f"its database is not readable: {error}") from None
    if newest < manifest.revision:
        why = f"its newest revision is {newest}, the manifest has {manifest.revision}"
        raise _damaged(store, manifest, why)


async def _read_stored(store: Store, manifest: Manifest, report: Report) -> Stream:
    """Return the bytes of the object. Raises Damaged at the end, unless they are those that were written."""
    checksum, reported = StreamChecksum(), 0
    async for piece in store.read(manifest.database):
        checksum.update(piece)
        if checksum.size - reported >= REPORT_BYTES:
            reported = checksum.size
            report(f"reading {manifest.name} back from {store.destination}: {show_size(checksum.size)}")
        yield piece
    if manifest.encrypted_to:
        why = _difference(checksum, manifest.stored_size, manifest.stored_sha256)
    else:
        why = _difference(checksum, manifest.size, manifest.sha256) or _trailer_fault(checksum)
    if why:
        raise _damaged(store, manifest, why)


async def _read_database(
    store: Store, manifest: Manifest, report: Report, identity: Identity | None
) -> Stream:
    """Return the decrypted bytes of the database. Raises Damaged at the end, unless they match the manifest."""
    content, checksum = _read_stored(store, manifest, report), StreamChecksum()
    if manifest.encrypted_to:
        content = checksummed(decrypt_stream(content, _matching_identity(identity, manifest)), checksum)
    try:
        async with aclosing(content):
            async for piece in content:
                yield piece
    except DecryptionFailed as error:
        raise _damaged(store, manifest, error.message) from None
    if manifest.encrypted_to and (
        why := _difference(checksum, manifest.size, manifest.sha256) or _trailer_fault(checksum)
    ):
        raise _damaged(store, manifest, why)


def _matching_identity(identity: Identity | None, manifest: Manifest) -> Identity:
    if identity is None:
        raise UsageError(f"{manifest.name} is encrypted to {manifest.encrypted_to}", hint=IDENTITY_HINT)
    if manifest.encrypted_to not in identity.public:
        raise UsageError(
            f"{manifest.name} is encrypted to {manifest.encrypted_to}, but the private key is for "
            + ", ".join(identity.public),
            hint=IDENTITY_HINT,
        )
    return identity


def _difference(checksum: StreamChecksum, size: int, sha256: str) -> str:
    if checksum.size != size:
        return f"it has {checksum.size} bytes, expected {size}"
    return "" if checksum.sha256 == sha256 else f"its sha256 is {checksum.sha256}, expected {sha256}"


def _trailer_fault(checksum: StreamChecksum) -> str:
    return "" if checksum.has_valid_trailer else "it does not end with its checksum"


def _damaged(store: Store, manifest: Manifest, why: str) -> Damaged:
    return Damaged(
        f"{manifest.name} in {store.destination} is damaged: {why}",
        hint="do not restore from it; take a new backup with `etcdup backup now`, and check the storage",
    )


IDENTITY_HINT = "pass the file with its private key: `--identity FILE` or $ETCDUP_BACKUP_IDENTITY"


async def fetch(
    store: Store,
    name: str,
    folder: Path,
    *,
    report: Report = lambda _: None,
    identity: Identity | None = None,
) -> tuple[Path, Manifest]:
    """Write a backup to `folder/NAME.db` with mode 0600, decrypted and verified. Return its path and its manifest."""
    manifest = await load_manifest(store, name)
    target, part = folder / (name + DATABASE), folder / f".{name}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for piece in _read_database(store, manifest, report, identity):
                await asyncio.to_thread(file.write, piece)
        await asyncio.to_thread(publish, part, target)
    except OSError as error:
        raise StoreError(f"cannot write {name} to {folder}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return target, manifest


async def delete(store: Store, name: str) -> None:
    """Delete a backup. The manifest is deleted first: without it nothing is listed, also after a kill."""
    for ending in (MANIFEST, PROOF, DATABASE, SEALED):
        with suppress(ObjectNotFound):
            await store.delete(name + ending)
