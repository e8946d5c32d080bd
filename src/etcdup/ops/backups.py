"""Backups in a store: taken, verified by reading them back, listed, fetched, deleted.

A backup is streamed from a member into the store without a copy on the way. Its manifest follows once all that was
written was read back and found to be the same, so that what is listed is whole.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups import (
    CANARY,
    DATABASE,
    HASH_BYTES,
    MANIFEST,
    PROOF,
    SEALED,
    Listed,
    Manifest,
    NotAManifest,
    backup_name,
    manifest_text,
    may_be_whole,
    read_manifest,
    whole_backups,
)
from etcdup.core.units import show_size
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.sealing import Identity, Unreadable, sealed, unsealed
from etcdup.ops.store import NotThere, Store, StoreError
from etcdup.remote.etcd_client import EtcdClient

Report = Callable[[str], None]

# The longest silence of the member.
STALL_S = 30.0
_ASK_S = 30.0
_REPORT_BYTES = 16 << 20


class Damaged(EtcdupError):
    """The store holds something else than what was backed up."""


class Gauge:
    """What went by: how much, its sha256, and whether it ends with the checksum of all before (rule 54).

    Memory is a few bytes: those that may turn out to be the ending are held back.
    """

    def __init__(self) -> None:
        self.size = 0
        self._before_ending = hashlib.sha256()
        self._ending = b""

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        if len(piece) < HASH_BYTES:
            held = self._ending + piece
            self._before_ending.update(held[:-HASH_BYTES])
        else:
            held = piece[-HASH_BYTES:]
            self._before_ending.update(self._ending)
            self._before_ending.update(memoryview(piece)[:-HASH_BYTES])
        self._ending = held[-HASH_BYTES:]

    @property
    def sha256(self) -> str:
        whole = self._before_ending.copy()
        whole.update(self._ending)
        return whole.hexdigest()

    @property
    def ends_well(self) -> bool:
        return may_be_whole(self.size) and self._before_ending.digest() == self._ending


async def take_backup(
    store: Store,
    client: EtcdClient,
    cluster: str,
    members: Mapping[str, str],
    *,
    report: Report,
    encrypt_to: str | None = None,
) -> Manifest:
    """From this member into the store, verified there. Raises EtcdupError; what is not whole is taken back."""
    at = datetime.now(UTC)
    name = backup_name(cluster, at)
    if (
        name + MANIFEST in await store.names()
    ):  # asked before the member is: a store that is not there costs nothing
        raise StoreError(f"{store.place} has a backup of this very second", hint="run it again")
    # a put through this member returns once the member itself has it: so it is caught up (rule 53)
    await client.put(CANARY, name.encode(), timeout_s=_ASK_S)
    seen = await client.status(timeout_s=_ASK_S)
    extent = await client.extent(timeout_s=_ASK_S)
    hashed = await client.hash_kv(extent.revision, timeout_s=_ASK_S)
    gauge, stored = Gauge(), Gauge()
    content = _measured(client, gauge, report)
    if encrypt_to:
        content = _counted(sealed(content, encrypt_to), stored)
    try:
        async with aclosing(content):
            await store.put(name + (SEALED if encrypt_to else DATABASE), content)
        if not gauge.ends_well:
            raise Damaged(
                f"what {client.name} sent is damaged: {gauge.size} bytes without the checksum at their end",
                hint="try again; if it stays so, the member's disk or the way to it is at fault",
            )
        manifest = Manifest(
            name=name, cluster=cluster, cluster_id=f"{seen.cluster_id:x}", member=client.name, members=members,
            version=str(seen.version), taken_at=at, size=gauge.size, sha256=gauge.sha256,
            revision=extent.revision, keys=extent.keys, kv_hash=hashed.hash,
            compact_revision=hashed.compact_revision, canary=name,
        )  # fmt: skip
        if encrypt_to:
            manifest = replace(
                manifest, encrypted_to=encrypt_to, stored_size=stored.size, stored_sha256=stored.sha256
            )
        await _read_back(store, manifest, report)
        await store.put_text(name + MANIFEST, manifest_text(manifest))
        await manifest_of(store, name)
    except BaseException:
        await _take_back(store, name)
        raise
    return manifest


async def _take_back(store: Store, name: str) -> None:
    """The manifest first: without it the rest is no backup. A store that is gone keeps what it has, unlisted."""
    for ending in (MANIFEST, DATABASE, SEALED):
        with suppress(EtcdupError):
            await store.delete(name + ending)


Stream = AsyncGenerator[bytes, None]


async def _counted(source: Stream, gauge: Gauge) -> Stream:
    async with aclosing(source):
        async for piece in source:
            gauge.take(piece)
            yield piece


async def _measured(client: EtcdClient, gauge: Gauge, report: Report) -> Stream:
    told = 0
    async for piece in client.snapshot(timeout_s=STALL_S):
        gauge.take(piece)
        if gauge.size - told >= _REPORT_BYTES:
            told = gauge.size
            report(f"backup from {client.name}: {show_size(gauge.size)}")
        yield piece


async def backups_in(store: Store, cluster: str) -> tuple[Listed, ...]:
    """Whole ones of this cluster, oldest first. Everything else in the store is not ours."""
    return whole_backups(await store.names(), cluster)


async def chosen(store: Store, cluster: str, name: str) -> Listed:
    """The backup of that name, or the newest for `latest`. Raises NotThere."""
    found = await backups_in(store, cluster)
    for each in reversed(found):
        if name in ("latest", each.name):
            return each
    what = f"no backup of {cluster}" if name == "latest" else f"no whole backup {name} of {cluster}"
    raise NotThere(f"{store.place} holds {what}", hint="`etcdup backup list` shows what there is")


async def manifest_of(store: Store, name: str) -> Manifest:
    try:
        return read_manifest(await store.read_text(name + MANIFEST), name)
    except NotAManifest as error:
        raise Damaged(f"the manifest of {name} in {store.place} cannot be used: {error}") from None


async def verify(store: Store, name: str, *, report: Report, identity: Identity | None = None) -> Manifest:
    """Reads the whole of it; where it is encrypted and there is no identity, as far as that goes. Raises Damaged, with
    what differs."""
    manifest = await manifest_of(store, name)
    await _read_back(store, manifest, report, identity)
    return manifest


async def _read_back(
    store: Store, manifest: Manifest, report: Report, identity: Identity | None = None
) -> None:
    content = _checked(store, manifest, report, identity) if identity else _stored(store, manifest, report)
    async with aclosing(content):
        async for _ in content:
            pass


async def _stored(store: Store, manifest: Manifest, report: Report) -> Stream:
    """The object's bytes; ends with Damaged unless they are those that were written."""
    gauge, told = Gauge(), 0
    async for piece in store.read(manifest.database):
        gauge.take(piece)
        if gauge.size - told >= _REPORT_BYTES:
            told = gauge.size
            report(f"reading {manifest.name} back: {show_size(gauge.size)}")
        yield piece
    if manifest.encrypted_to:
        why = _difference(gauge, manifest.stored_size, manifest.stored_sha256)
    else:
        why = _difference(gauge, manifest.size, manifest.sha256) or _ending(gauge)
    if why:
        raise _damaged(store, manifest, why)


async def _checked(store: Store, manifest: Manifest, report: Report, identity: Identity | None) -> Stream:
    """The database's bytes, decrypted; ends with Damaged unless they are those that the manifest tells of."""
    content, gauge = _stored(store, manifest, report), Gauge()
    if manifest.encrypted_to:
        content = _counted(unsealed(content, _fitting(identity, manifest)), gauge)
    try:
        async with aclosing(content):
            async for piece in content:
                yield piece
    except Unreadable as error:
        raise _damaged(store, manifest, error.message) from None
    if manifest.encrypted_to and (
        why := _difference(gauge, manifest.size, manifest.sha256) or _ending(gauge)
    ):
        raise _damaged(store, manifest, why)


def _fitting(identity: Identity | None, manifest: Manifest) -> Identity:
    if identity is None:
        raise UsageError(f"{manifest.name} is encrypted to {manifest.encrypted_to}", hint=IDENTITY_HINT)
    if manifest.encrypted_to not in identity.public:
        raise UsageError(
            f"{manifest.name} is encrypted to {manifest.encrypted_to}, and the identity is of "
            + ", ".join(identity.public),
            hint=IDENTITY_HINT,
        )
    return identity


def _difference(gauge: Gauge, size: int, sha256: str) -> str:
    if gauge.size != size:
        return f"it has {gauge.size} bytes and should have {size}"
    return "" if gauge.sha256 == sha256 else f"its sha256 is {gauge.sha256} and should be {sha256}"


def _ending(gauge: Gauge) -> str:
    return "" if gauge.ends_well else "it does not end with its checksum"


def _damaged(store: Store, manifest: Manifest, why: str) -> Damaged:
    return Damaged(
        f"{manifest.name} in {store.place} is damaged: {why}",
        hint="never restore from it; take another with `etcdup backup now`, and look after the store",
    )


IDENTITY_HINT = "`--identity FILE` or $ETCDUP_BACKUP_IDENTITY names the file with its private key"


async def fetch(
    store: Store,
    cluster: str,
    name: str,
    folder: Path,
    *,
    report: Report = lambda _: None,
    identity: Identity | None = None,
) -> tuple[Path, Manifest]:
    """A whole backup by its name, or `latest`, decrypted and verified on the way, as `folder/NAME.db` for its owner
    alone."""
    name = (await chosen(store, cluster, name)).name
    manifest = await manifest_of(store, name)
    target, part = folder / (name + DATABASE), folder / f".{name}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for piece in _checked(store, manifest, report, identity):
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
        with suppress(NotThere):
            await store.delete(name + ending)
