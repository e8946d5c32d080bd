"""Take a backup: stream it from a member into all destinations at once, and read it back.

The member is read at its full speed. What a slow destination has not taken yet is in a temporary file (spool.py).

The manifest is written after the data that was read back is the same, so that a listed backup is complete. A
destination that fails does not affect the others, and lists no incomplete backup.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import TypeVar

from etcdup.core.backups.backups import (
    CANARY,
    DATABASE,
    MANIFEST,
    PKI,
    SEALED,
    Manifest,
    backup_name,
    manifest_text,
)
from etcdup.core.spec.units import show_transfer
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
from etcdup.ops.backups.pki_backup import one_piece
from etcdup.ops.backups.snapshot import refuse_endless_snapshot
from etcdup.ops.backups.spool import spooled
from etcdup.ops.backups.store import Store, StoreError
from etcdup.ops.backups.trust import MANIFEST_KIND, Trust
from etcdup.ops.pki.backup_key import BackupKey
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdRefused

T = TypeVar("T")

# The longest time without data from the member.
STALL_S = 30.0
_ASK_S = 30.0
# The member reads its whole database for the hash, while it also sends the snapshot.
_HASH_S = 300.0
# The message of etcd when its quota is used up (rule 70).
_FULL = "database space exceeded"


@dataclass(frozen=True)
class TakenBackup:
    """A backup, the destinations that have it, and the errors of the others.

    `written_s` is the time of writing, `read_back_s` that of reading back, in all destinations.
    """

    manifest: Manifest
    destinations: tuple[str, ...]
    failed: Failures
    written_s: float
    read_back_s: float


async def take_backup(
    destinations: Destinations,
    client: EtcdClient,
    cluster: str,
    members: Mapping[str, str],
    key: BackupKey,
    *,
    report: Report,
    encrypt_to: str | None = None,
    sealed_pki: bytes = b"",
) -> TakenBackup:
    """Back up this member into all destinations, verified in each. Raises EtcdupError if no destination has it.

    `sealed_pki` is the encrypted PKI directory, if it is part of the backup.
    """
    at = datetime.now(UTC)
    copies = _Copies(destinations, backup_name(cluster, at), Trust(key))
    # This is first: an unreachable store is found before the member does any work.
    await copies.check_name_is_free()
    canary = await _write_canary(client, copies.name)
    seen = await client.status(timeout_s=_ASK_S)
    extent = await client.read_keyspace_size(timeout_s=_ASK_S)
    checksum, stored = StreamChecksum(), StreamChecksum()
    begun = asyncio.Event()
    hashing = asyncio.create_task(_hash_once_begun(client, extent.revision, begun))
    content = _stream_snapshot(client, seen.db_size, checksum, report, begun, hashing)
    if encrypt_to:
        content = checksummed(encrypt_stream(content, encrypt_to), stored)
    content = spooled(content)
    began = time.monotonic()
    try:
        await copies.write(SEALED if encrypt_to else DATABASE, content)
        written = time.monotonic()
        _check_trailer(checksum, client.name)
        hashed = await hashing
        manifest = Manifest(
            name=copies.name, cluster=cluster, cluster_id=f"{seen.cluster_id:x}", member=client.name,
            members=members, version=str(seen.version), taken_at=at, size=checksum.size, sha256=checksum.sha256,
            revision=extent.revision, keys=extent.keys, kv_hash=hashed.hash,
            compact_revision=hashed.compact_revision, canary=canary, signed=True,
        )  # fmt: skip
        if encrypt_to:
            manifest = replace(
                manifest, encrypted_to=encrypt_to, stored_size=stored.size, stored_sha256=stored.sha256
            )
        if sealed_pki:
            await copies.write(PKI, one_piece(sealed_pki))
            digest = sha256(sealed_pki).hexdigest()
            manifest = replace(manifest, pki_size=len(sealed_pki), pki_sha256=digest)
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
    """Write a key through this member and return its value. When the write returns, the member has it (rule 53).

    If the quota is used up, etcd accepts no write, and a backup is needed most. Then a linearizable read waits for the
    same state, and there is no canary.
    """
    try:
        await client.put(CANARY, name.encode(), timeout_s=_ASK_S)
    except EtcdRefused as error:
        if _FULL not in error.message:
            raise
        await client.get(CANARY, timeout_s=_ASK_S)
        return ""
    return name


async def _hash_once_begun(client: EtcdClient, revision: int, begun: asyncio.Event) -> KvHash:
    """Return the hash, requested after the stream has started.

    Otherwise the member would start the stream only after the hash, for which it reads its whole database.
    """
    await begun.wait()
    return await client.hash_kv(revision, timeout_s=_HASH_S)


async def _cancel_hashing(task: "asyncio.Task[KvHash]") -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()  # It was raised where it was awaited, or another error is more important.


def _check_trailer(checksum: StreamChecksum, member: str) -> None:
    if not checksum.has_valid_trailer:
        raise Damaged(
            f"the snapshot from {member} is damaged: it has {checksum.size} bytes, "
            "and the checksum at its end does not match",
            hint=f"try again; if the error remains, check the disk of {member} and the network",
        )


async def _stream_snapshot(
    client: EtcdClient,
    size: int,
    checksum: StreamChecksum,
    report: Report,
    begun: asyncio.Event,
    hashing: "asyncio.Task[KvHash]",
) -> Stream:
    """Return the snapshot stream of a database of about `size` bytes.

    It fails if the hash fails, because the backup could then not be proved.
    """
    reported = 0
    async with aclosing(client.snapshot(timeout_s=STALL_S)) as pieces:
        async for piece in pieces:
            begun.set()
            if hashing.done():
                hashing.result()
            checksum.update(piece)
            refuse_endless_snapshot(client.name, checksum.size, size)
            if checksum.size - reported >= REPORT_BYTES:
                reported = checksum.size
                report(f"backup from {client.name}: {show_transfer(checksum.size, size)}")
            yield piece


class _Copies:
    """The destinations that did not fail until now, and the errors of the others."""

    def __init__(self, destinations: Destinations, name: str, trust: Trust) -> None:
        self.name = name
        self._trust = trust
        self.stores = list(destinations.stores)
        self.failed = dict(destinations.failed)

    async def check_name_is_free(self) -> None:
        """Raise StoreError if a destination has a backup with this name, or if no destination responds."""
        names = await self._each(lambda store: store.list_names())
        self._check_any_left()
        for store, there in names.items():
            if self.name + MANIFEST in there:
                raise StoreError(
                    f"{store.destination} already has a backup {self.name}, taken in the same second",
                    hint="run the command again",
                )

    async def write(self, ending: str, content: Stream) -> None:
        """Write one stream into all destinations."""
        stores = tuple(self.stores)
        async with aclosing(content):
            failures = await fan_out(content, [_sink_to(store, self.name + ending) for store in stores])
        for store, failure in zip(stores, failures, strict=True):
            if failure is not None:
                self._drop(store, _as_store_error(store, failure))
        await self._delete_failed(stores)

    async def publish(self, manifest: Manifest, report: Report) -> None:
        """In each destination, read the database back, then write the manifest, which makes it a backup."""

        signed = self._trust.sign(MANIFEST_KIND, manifest_text(manifest))

        async def prove(store: Store) -> None:
            await read_back(store, manifest, report)
            await store.put_text(self.name + MANIFEST, signed)
            await load_manifest(store, self.name, self._trust)

        before = tuple(self.stores)
        await self._each(prove)
        await self._delete_failed(before)

    async def delete_copies(self, stores: Sequence[Store]) -> None:
        """Delete all files of this backup in these stores. An unreachable store keeps them, but does not list them."""

        async def forget(store: Store, ending: str) -> None:
            with suppress(EtcdupError):
                await store.delete(self.name + ending)

        endings = (MANIFEST, DATABASE, SEALED, PKI)
        await asyncio.gather(*(forget(store, ending) for store in stores for ending in endings))

    async def _each(self, work: Callable[[Store], Awaitable[T]]) -> dict[Store, T]:
        """Run `work` for all destinations at once, and return the results of those that did not fail."""
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
        """Delete the files in destinations that failed. Raises EtcdupError if no destination is left."""
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
            f"{store.destination} accepted no data for {SINK_TIMEOUT_S:g} s",
            hint="check whether the store is full and whether its network works, then run the command again",
        )
    raise failure
