"""Backups in a store: taken, verified by reading them back, listed, fetched, deleted.

A backup is streamed from a member into the store without a copy on the way. Its manifest follows once all that was
written was read back and found to be the same, so that what is listed is whole.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups import (
    CANARY,
    DATABASE,
    HASH_BYTES,
    MANIFEST,
    PROOF,
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
from etcdup.errors import EtcdupError
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
        self._whole = hashlib.sha256()
        self._before_ending = hashlib.sha256()
        self._ending = b""

    def take(self, piece: bytes) -> None:
        self.size += len(piece)
        self._whole.update(piece)
        held = self._ending + piece[-HASH_BYTES:] if len(piece) < HASH_BYTES else piece[-HASH_BYTES:]
        if len(piece) < HASH_BYTES:
            self._before_ending.update(held[:-HASH_BYTES])
        else:
            self._before_ending.update(self._ending)
            self._before_ending.update(memoryview(piece)[:-HASH_BYTES])
        self._ending = held[-HASH_BYTES:]

    @property
    def sha256(self) -> str:
        return self._whole.hexdigest()

    @property
    def ends_well(self) -> bool:
        return may_be_whole(self.size) and self._before_ending.digest() == self._ending


async def take_backup(
    store: Store, client: EtcdClient, cluster: str, members: Mapping[str, str], *, report: Report
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
    gauge = Gauge()
    try:
        await store.put(name + DATABASE, _measured(client, gauge, report))
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
        await _read_back(store, manifest, report)
        await store.put_text(name + MANIFEST, manifest_text(manifest))
        await manifest_of(store, name)
    except BaseException:
        await _take_back(store, name)
        raise
    return manifest


async def _take_back(store: Store, name: str) -> None:
    """The manifest first: without it the rest is no backup. A store that is gone keeps what it has, unlisted."""
    for ending in (MANIFEST, DATABASE):
        with suppress(EtcdupError):
            await store.delete(name + ending)


async def _measured(client: EtcdClient, gauge: Gauge, report: Report) -> AsyncIterator[bytes]:
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


async def verify(store: Store, name: str, *, report: Report) -> Manifest:
    """Reads the whole of it. Raises Damaged, with what differs."""
    manifest = await manifest_of(store, name)
    await _read_back(store, manifest, report)
    return manifest


async def _read_back(store: Store, manifest: Manifest, report: Report) -> None:
    async for _ in _checked(store, manifest, report):
        pass


async def _checked(store: Store, manifest: Manifest, report: Report) -> AsyncIterator[bytes]:
    """The object's bytes; ends with Damaged unless they are those that the manifest tells of."""
    gauge, told = Gauge(), 0
    async for piece in store.read(manifest.name + DATABASE):
        gauge.take(piece)
        if gauge.size - told >= _REPORT_BYTES:
            told = gauge.size
            report(f"reading {manifest.name} back: {show_size(gauge.size)}")
        yield piece
    if why := _difference(gauge, manifest):
        raise Damaged(
            f"{manifest.name} in {store.place} is damaged: {why}",
            hint="never restore from it; take another with `etcdup backup now`, and look after the store",
        )


def _difference(gauge: Gauge, manifest: Manifest) -> str:
    if gauge.size != manifest.size:
        return f"it has {gauge.size} bytes and should have {manifest.size}"
    if gauge.sha256 != manifest.sha256:
        return f"its sha256 is {gauge.sha256} and should be {manifest.sha256}"
    return "" if gauge.ends_well else "it does not end with its checksum"


async def fetch(
    store: Store, cluster: str, name: str, folder: Path, *, report: Report = lambda _: None
) -> tuple[Path, Manifest]:
    """A whole backup by its name, or `latest`, verified on the way, as `folder/NAME.db` for its owner alone."""
    name = (await chosen(store, cluster, name)).name
    manifest = await manifest_of(store, name)
    target, part = folder / (name + DATABASE), folder / f".{name}.part"
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            async for piece in _checked(store, manifest, report):
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
    for ending in (MANIFEST, PROOF, DATABASE):
        with suppress(NotThere):
            await store.delete(name + ending)
