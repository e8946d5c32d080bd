"""Taking a backup: streamed from a member into every place at once, without a copy on the way, and read back.

Its manifest follows once all that was written was found to be the same, so that what is listed is whole. A place
that fails does not spoil the others, and keeps nothing that is listed.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from etcdup.core.backups.backups import (
    CANARY,
    DATABASE,
    MANIFEST,
    SEALED,
    Manifest,
    backup_name,
    manifest_text,
)
from etcdup.core.spec.units import show_size
from etcdup.errors import EtcdupError
from etcdup.ops.backups.backups import (
    REPORT_BYTES,
    Damaged,
    Report,
    Stream,
    checksummed,
    load_manifest,
    read_back,
)
from etcdup.ops.backups.checksum import StreamChecksum
from etcdup.ops.backups.destinations import Destinations, Failures, combined_error
from etcdup.ops.backups.encryption import encrypt_stream
from etcdup.ops.backups.fan_out import SINK_TIMEOUT_S, Sink, fan_out
from etcdup.ops.backups.store import Store, StoreError
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdRefused

T = TypeVar("T")

# The longest silence of the member.
STALL_S = 30.0
_ASK_S = 30.0
# The member reads all that it has for it, and sends it meanwhile.
_HASH_S = 300.0
# etcd's words where its quota is used up (rule 70).
_FULL = "database space exceeded"


@dataclass(frozen=True)
class TakenBackup:
    """A backup, the places that have it, and why the others do not. How long it took until all had been written, and
    then until all had been read back."""

    manifest: Manifest
    destinations: tuple[str, ...]
    failed: Failures
    written_s: float
    read_back_s: float


async def take_backup(
    places: Destinations,
    client: EtcdClient,
    cluster: str,
    members: Mapping[str, str],
    *,
    report: Report,
    encrypt_to: str | None = None,
) -> TakenBackup:
    """From this member into all places, verified in each. Raises EtcdupError where no place has it in the end."""
    at = datetime.now(UTC)
    copies = _Copies(places, backup_name(cluster, at))
    await copies.check_name_is_free()  # before the member is asked: a store that is not there costs nothing
    canary = await _write_canary(client, copies.name)
    seen = await client.status(timeout_s=_ASK_S)
    extent = await client.read_keyspace_size(timeout_s=_ASK_S)
    gauge, stored = StreamChecksum(), StreamChecksum()
    begun = asyncio.Event()
    hashing = asyncio.create_task(_hash_once_begun(client, extent.revision, begun))
    content = _stream_snapshot(client, gauge, report, begun, hashing)
    if encrypt_to:
        content = checksummed(encrypt_stream(content, encrypt_to), stored)
    began = time.monotonic()
    try:
        await copies.write(SEALED if encrypt_to else DATABASE, content)
        written = time.monotonic()
        _check_trailer(gauge, client.name)
        hashed = await hashing
        manifest = Manifest(
            name=copies.name, cluster=cluster, cluster_id=f"{seen.cluster_id:x}", member=client.name,
            members=members, version=str(seen.version), taken_at=at, size=gauge.size, sha256=gauge.sha256,
            revision=extent.revision, keys=extent.keys, kv_hash=hashed.hash,
            compact_revision=hashed.compact_revision, canary=canary,
        )  # fmt: skip
        if encrypt_to:
            manifest = replace(
                manifest, encrypted_to=encrypt_to, stored_size=stored.size, stored_sha256=stored.sha256
            )
        await copies.publish(manifest, report)
    except BaseException:
        await copies.delete_copies(copies.stores)
        raise
    finally:
        await _cancel_hashing(hashing)
    return TakenBackup(
        manifest, tuple(store.destination for store in copies.stores), copies.failed,
        written_s=round(written - began, 3), read_back_s=round(time.monotonic() - written, 3),
    )  # fmt: skip


async def _write_canary(client: EtcdClient, name: str) -> str:
    """A put through this member returns once the member itself has it (rule 53). Where etcd is full it takes none, just
    when a backup is wanted: a linearizable read then waits for as much, and there is no canary."""
    try:
        await client.put(CANARY, name.encode(), timeout_s=_ASK_S)
    except EtcdRefused as error:
        if _FULL not in error.message:
            raise
        await client.get(CANARY, timeout_s=_ASK_S)
        return ""
    return name


async def _hash_once_begun(client: EtcdClient, revision: int, begun: asyncio.Event) -> KvHash:
    """Once the stream has begun: the member would else begin it only after the hash, for which it reads all it has."""
    await begun.wait()
    return await client.hash_kv(revision, timeout_s=_HASH_S)


async def _cancel_hashing(task: "asyncio.Task[KvHash]") -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # raised where it was awaited, or less to the point than what was


def _check_trailer(gauge: StreamChecksum, member: str) -> None:
    if not gauge.has_valid_trailer:
        raise Damaged(
            f"what {member} sent is damaged: {gauge.size} bytes without the checksum at their end",
            hint="try again; if it stays so, the member's disk or the way to it is at fault",
        )


async def _stream_snapshot(
    client: EtcdClient,
    gauge: StreamChecksum,
    report: Report,
    begun: asyncio.Event,
    hashing: "asyncio.Task[KvHash]",
) -> Stream:
    """The stream; it ends where there is no hash of it, since it could not be proved."""
    told = 0
    async with aclosing(client.snapshot(timeout_s=STALL_S)) as pieces:
        async for piece in pieces:
            begun.set()
            if hashing.done():
                hashing.result()
            gauge.update(piece)
            if gauge.size - told >= REPORT_BYTES:
                told = gauge.size
                report(f"backup from {client.name}: {show_size(gauge.size)}")
            yield piece


class _Copies:
    """The places that are still to have it, and why the others are not."""

    def __init__(self, places: Destinations, name: str) -> None:
        self.name = name
        self.stores = list(places.stores)
        self.failed = dict(places.failed)

    async def check_name_is_free(self) -> None:
        """Raises where one of them has a backup of this name, or none answers."""
        names = await self._each(lambda store: store.list_names())
        self._check_any_left()
        for store, there in names.items():
            if self.name + MANIFEST in there:
                raise StoreError(f"{store.destination} has a backup of this very second", hint="run it again")

    async def write(self, ending: str, content: Stream) -> None:
        """One stream into all of them."""
        stores = tuple(self.stores)
        async with aclosing(content):
            failures = await fan_out(content, [_sink_to(store, self.name + ending) for store in stores])
        for store, failure in zip(stores, failures, strict=True):
            if failure is not None:
                self._drop(store, _as_store_error(store, failure))
        await self._delete_failed(stores)

    async def publish(self, manifest: Manifest, report: Report) -> None:
        """Each place by itself: the database read back, then the manifest, which makes it a backup."""

        async def prove(store: Store) -> None:
            await read_back(store, manifest, report)
            await store.put_text(self.name + MANIFEST, manifest_text(manifest))
            await load_manifest(store, self.name)

        before = tuple(self.stores)
        await self._each(prove)
        await self._delete_failed(before)

    async def delete_copies(self, stores: Sequence[Store]) -> None:
        """Without the manifest, or without the database, it is no backup. A store that is gone keeps what it has,
        unlisted."""

        async def forget(store: Store, ending: str) -> None:
            with suppress(EtcdupError):
                await store.delete(self.name + ending)

        endings = (MANIFEST, DATABASE, SEALED)
        await asyncio.gather(*(forget(store, ending) for store in stores for ending in endings))

    async def _each(self, work: Callable[[Store], Awaitable[T]]) -> dict[Store, T]:
        """`work` in all of them at once."""
        stores, done = tuple(self.stores), {}
        results = await asyncio.gather(*(work(store) for store in stores), return_exceptions=True)
        for store, result in zip(stores, results, strict=True):
            if isinstance(result, EtcdupError):
                self._drop(store, result)
            elif isinstance(result, BaseException):
                raise result
            else:
                done[store] = result
        return done

    def _drop(self, store: Store, error: EtcdupError) -> None:
        self.stores.remove(store)
        self.failed[store.destination] = error

    async def _delete_failed(self, before: Sequence[Store]) -> None:
        """What the places hold that have just failed is taken back. Raises where none is left."""
        await self.delete_copies([store for store in before if store not in self.stores])
        self._check_any_left()

    def _check_any_left(self) -> None:
        if not self.stores:
            raise combined_error(self.failed)


def _sink_to(store: Store, name: str) -> Sink:
    return lambda content: store.put(name, content)


def _as_store_error(store: Store, failure: Exception) -> EtcdupError:
    if isinstance(failure, EtcdupError):
        return failure
    if isinstance(failure, TimeoutError):
        return StoreError(
            f"{store.destination} took nothing for {SINK_TIMEOUT_S:g} s",
            hint="is it full, or its network gone?",
        )
    raise failure
