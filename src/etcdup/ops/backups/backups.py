"""List, verify, fetch and delete the backups of a store. take.py writes them."""

import asyncio
import os
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups.backups import (
    DATABASE,
    HASH_BYTES,
    MANIFEST,
    PKI,
    PROOF,
    SEALED,
    BackupEntry,
    InvalidManifest,
    Manifest,
    is_in_future,
    proved_backup,
    read_manifest,
    whole_backups,
)
from etcdup.core.etcd.bbolt import Read, newest_revision, open_bolt
from etcdup.core.spec.units import show_size
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.backups.checksum import StreamChecksum
from etcdup.ops.backups.encryption import DecryptionFailed, Identity, decrypt_stream
from etcdup.ops.backups.store import ObjectNotFound, Store, StoreError
from etcdup.ops.backups.trust import MANIFEST_KIND, PROOF_KIND, UNSIGNED_HINT, NotUsed, Trust
from etcdup.ops.files import publish
from etcdup.ops.pki.archive import MOST_ARCHIVE_BYTES

Report = Callable[[str], None]
Stream = AsyncGenerator[bytes, None]

# Progress is reported each time after this number of bytes.
REPORT_BYTES = 16 << 20
# What the encryption adds to an archive: a header, and 16 bytes for each 64 KiB.
MOST_SEALED_BYTES = MOST_ARCHIVE_BYTES + (MOST_ARCHIVE_BYTES >> 10)
# How many manifests are read at the same time.
_READS_AT_ONCE = 8


class Damaged(EtcdupError):
    """The content of the store differs from the backup that was taken."""


async def checksummed(source: Stream, checksum: StreamChecksum) -> Stream:
    """Return the same stream. Each piece also updates `checksum`."""
    async with aclosing(source):
        async for piece in source:
            checksum.update(piece)
            yield piece


async def list_backups(store: Store, cluster: str, trust: Trust) -> tuple[BackupEntry, ...]:
    """Return the complete backups of this cluster, oldest first, each with its fault if it is not used.

    Other objects in the store are ignored.
    """
    free = asyncio.Semaphore(_READS_AT_ONCE)

    async def checked(each: BackupEntry) -> BackupEntry:
        async with free:
            return await _check_entry(store, each, trust)

    return tuple(
        await asyncio.gather(*(checked(each) for each in whole_backups(await store.list_names(), cluster)))
    )


async def _check_entry(store: Store, entry: BackupEntry, trust: Trust) -> BackupEntry:
    seen = await check_manifest(store, entry.name, trust)
    signed = seen.manifest is not None and seen.manifest.signed
    return replace(
        entry,
        proved=entry.proved and not seen.reason and await _is_proved(store, entry.name, trust, signed=signed),
        signed=signed,
        fault=seen.reason,
        manifest=seen.manifest,
    )


async def _is_proved(store: Store, name: str, trust: Trust, *, signed: bool) -> bool:
    """Return whether the proof is of this backup. The proof of a signed backup is signed too."""
    try:
        text, fault = trust.open(PROOF_KIND, await store.read_text(name + PROOF))
    except StoreError:
        return False
    return proved_backup(text) == name and not (fault and signed)


@dataclass(frozen=True)
class CheckedManifest:
    """A manifest as far as it could be read, and the error if the backup is not used. `reason` is short."""

    manifest: Manifest | None
    error: EtcdupError | None = None
    reason: str = ""


async def check_manifest(store: Store, name: str, trust: Trust) -> CheckedManifest:
    """Read a manifest and check its signature and its time."""
    try:
        text, fault = trust.open(MANIFEST_KIND, await store.read_text(name + MANIFEST))
        manifest = replace(read_manifest(text, name), signed=not fault)
    except InvalidManifest as error:
        unusable = f"the manifest of {name} in {store.destination} is not usable: {error}"
        return CheckedManifest(None, Damaged(unusable), "its manifest is damaged")
    except StoreError as error:
        return CheckedManifest(None, error, "its manifest is not readable")
    hint = UNSIGNED_HINT
    if is_in_future(manifest.taken_at, datetime.now(UTC)):
        fault, hint = "its date is in the future", FUTURE_HINT
    elif trust.unsigned:
        fault = ""
    if fault:
        refused = NotUsed(f"etcdup does not use {name} in {store.destination}", fault, hint)
        return CheckedManifest(manifest, refused, fault)
    return CheckedManifest(manifest)


async def load_manifest(store: Store, name: str, trust: Trust) -> Manifest:
    """Return the manifest of a backup. Raises Damaged, or NotUsed if it is unsigned or dated in the future."""
    checked = await check_manifest(store, name, trust)
    if checked.error is not None:
        raise checked.error
    assert checked.manifest is not None, "without an error there is a manifest"
    return checked.manifest


FUTURE_HINT = (
    "compare the clock of this machine with `date -u`. To restore the data anyway, copy the database to another "
    "folder, and restore that file"
)


async def verify(
    store: Store, name: str, trust: Trust, *, report: Report, identity: Identity | None = None
) -> Manifest:
    """Read the whole backup and return its manifest. Raises Damaged, with the difference.

    Without an identity, of an encrypted backup only the encrypted bytes are compared.
    """
    manifest = await load_manifest(store, name, trust)
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
    if manifest.pki_size:
        await read_sealed_pki(store, manifest)


async def read_sealed_pki(store: Store, manifest: Manifest) -> bytes:
    """Return the encrypted PKI directory of a backup. Raises Damaged if it is not the one of the manifest."""
    content, checksum = await joined(store.read(manifest.name + PKI), MOST_SEALED_BYTES), StreamChecksum()
    checksum.update(content)
    if why := _difference(checksum, manifest.pki_size, manifest.pki_sha256):
        raise _damaged(store, manifest, f"of its PKI directory, {why}")
    return content


async def joined(stream: Stream, most: int) -> bytes:
    """Return the content of a stream. Raises Damaged if it has more bytes."""
    content = bytearray()
    async with aclosing(stream):
        async for piece in stream:
            content += piece
            if len(content) > most:
                raise Damaged(f"an archive of a PKI directory has more than {most >> 20} MiB")
    return bytes(content)


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
    trust: Trust,
    *,
    report: Report = lambda _: None,
    identity: Identity | None = None,
) -> tuple[Path, Manifest]:
    """Write a backup to `folder/NAME.db` with mode 0600, decrypted and verified. Return its path and its manifest."""
    manifest = await load_manifest(store, name, trust)
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
    for ending in (MANIFEST, PROOF, DATABASE, SEALED, PKI):
        with suppress(ObjectNotFound):
            await store.delete(name + ending)
