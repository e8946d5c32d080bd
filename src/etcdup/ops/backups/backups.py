"""Backups in a store: listed, verified by reading them, fetched, deleted. `taking.py` puts them there."""

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

Report = Callable[[str], None]
Stream = AsyncGenerator[bytes, None]

# Told of again after so much more.
REPORT_BYTES = 16 << 20


class Damaged(EtcdupError):
    """The store holds something else than what was backed up."""


async def checksummed(source: Stream, gauge: StreamChecksum) -> Stream:
    async with aclosing(source):
        async for piece in source:
            gauge.update(piece)
            yield piece


async def list_backups(store: Store, cluster: str) -> tuple[BackupEntry, ...]:
    """Whole ones of this cluster, oldest first. Everything else in the store is not ours."""
    return whole_backups(await store.list_names(), cluster)


async def load_manifest(store: Store, name: str) -> Manifest:
    try:
        return read_manifest(await store.read_text(name + MANIFEST), name)
    except InvalidManifest as error:
        raise Damaged(f"the manifest of {name} in {store.destination} cannot be used: {error}") from None


async def verify(store: Store, name: str, *, report: Report, identity: Identity | None = None) -> Manifest:
    """Reads the whole of it; where it is encrypted and there is no identity, as far as that goes. Raises Damaged, with
    what differs."""
    manifest = await load_manifest(store, name)
    await read_back(store, manifest, report, identity)
    return manifest


async def read_back(
    store: Store, manifest: Manifest, report: Report, identity: Identity | None = None
) -> None:
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
    """The database's own word, by a few small reads. How many keys it has is for the drill: that takes all of them."""
    end = manifest.size - HASH_BYTES

    def look(read: Read) -> int:
        return newest_revision(open_bolt(lambda start, stop: read(start, min(stop, end))))

    try:
        newest = await store.read_parts(manifest.database, look)
    except (ValueError, struct.error, IndexError) as error:
        raise _damaged(store, manifest, f"its database cannot be read: {error}") from None
    if newest < manifest.revision:
        raise _damaged(store, manifest, f"it ends at revision {newest} and should reach {manifest.revision}")


async def _read_stored(store: Store, manifest: Manifest, report: Report) -> Stream:
    """The object's bytes; ends with Damaged unless they are those that were written."""
    gauge, told = StreamChecksum(), 0
    async for piece in store.read(manifest.database):
        gauge.update(piece)
        if gauge.size - told >= REPORT_BYTES:
            told = gauge.size
            report(f"reading {manifest.name} back from {store.destination}: {show_size(gauge.size)}")
        yield piece
    if manifest.encrypted_to:
        why = _difference(gauge, manifest.stored_size, manifest.stored_sha256)
    else:
        why = _difference(gauge, manifest.size, manifest.sha256) or _trailer_fault(gauge)
    if why:
        raise _damaged(store, manifest, why)


async def _read_database(
    store: Store, manifest: Manifest, report: Report, identity: Identity | None
) -> Stream:
    """The database's bytes, decrypted; ends with Damaged unless they are those that the manifest tells of."""
    content, gauge = _read_stored(store, manifest, report), StreamChecksum()
    if manifest.encrypted_to:
        content = checksummed(decrypt_stream(content, _matching_identity(identity, manifest)), gauge)
    try:
        async with aclosing(content):
            async for piece in content:
                yield piece
    except DecryptionFailed as error:
        raise _damaged(store, manifest, error.message) from None
    if manifest.encrypted_to and (
        why := _difference(gauge, manifest.size, manifest.sha256) or _trailer_fault(gauge)
    ):
        raise _damaged(store, manifest, why)


def _matching_identity(identity: Identity | None, manifest: Manifest) -> Identity:
    if identity is None:
        raise UsageError(f"{manifest.name} is encrypted to {manifest.encrypted_to}", hint=IDENTITY_HINT)
    if manifest.encrypted_to not in identity.public:
        raise UsageError(
            f"{manifest.name} is encrypted to {manifest.encrypted_to}, and the identity is of "
            + ", ".join(identity.public),
            hint=IDENTITY_HINT,
        )
    return identity


def _difference(gauge: StreamChecksum, size: int, sha256: str) -> str:
    if gauge.size != size:
        return f"it has {gauge.size} bytes and should have {size}"
    return "" if gauge.sha256 == sha256 else f"its sha256 is {gauge.sha256} and should be {sha256}"


def _trailer_fault(gauge: StreamChecksum) -> str:
    return "" if gauge.has_valid_trailer else "it does not end with its checksum"


def _damaged(store: Store, manifest: Manifest, why: str) -> Damaged:
    return Damaged(
        f"{manifest.name} in {store.destination} is damaged: {why}",
        hint="never restore from it; take another with `etcdup backup now`, and look after the store",
    )


IDENTITY_HINT = "`--identity FILE` or $ETCDUP_BACKUP_IDENTITY names the file with its private key"


async def fetch(
    store: Store,
    name: str,
    folder: Path,
    *,
    report: Report = lambda _: None,
    identity: Identity | None = None,
) -> tuple[Path, Manifest]:
    """A whole backup by its name, decrypted and verified on the way, as `folder/NAME.db` for its owner alone."""
    manifest = await load_manifest(store, name)
    target, part = folder / (name + DATABASE), folder / f".{name}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for piece in _read_database(store, manifest, report, identity):
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(os.fsync, file.fileno())
        part.rename(target)
    except OSError as error:
        raise StoreError(f"{name} cannot be written to {folder}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return target, manifest


async def delete(store: Store, name: str) -> None:
    """The manifest goes first: from then on it is no backup, wherever this ends."""
    for ending in (MANIFEST, PROOF, DATABASE, SEALED):
        with suppress(ObjectNotFound):
            await store.delete(name + ending)
