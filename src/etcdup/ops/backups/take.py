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
from etcdup.errors import EtcdupError
from etcdup.ops.backups.backups import Report, Stream, checksummed, load_manifest, read_back
from etcdup.ops.backups.checksum import StreamChecksum
from etcdup.ops.backups.destinations import Destinations, Failures, combined_error
from etcdup.ops.backups.encryption import encrypt_stream
from etcdup.ops.backups.fan_out import SINK_TIMEOUT_S, Sink, fan_out
from etcdup.ops.backups.member_snapshot import REQUEST_S, MemberSnapshot
from etcdup.ops.backups.pki_backup import one_piece
from etcdup.ops.backups.spool import spooled
from etcdup.ops.backups.store import Store, StoreError
from etcdup.ops.backups.trust import MANIFEST_KIND, Trust
from etcdup.ops.pki.backup_key import BackupKey
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdRefused

T = TypeVar("T")

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
    snapshot = await MemberSnapshot.open(client)
    began = time.monotonic()
    try:
        stored = await _write_database(copies, snapshot, encrypt_to, report)
        written = time.monotonic()
        manifest = await _describe(snapshot, copies.name, at, cluster, client.name, members, canary)
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
        await snapshot.cancel()
    return TakenBackup(
        manifest, tuple(store.destination for store in copies.stores), copies.failed,
        written_s=round(written - began, 3), read_back_s=round(time.monotonic() - written, 3),
    )  # fmt: skip


async def _write_database(
    copies: "_Copies", snapshot: MemberSnapshot, encrypt_to: str | None, report: Report
) -> StreamChecksum:
    """Write the snapshot into all destinations. Return the checksum of what is stored, if it is encrypted."""
    stored = StreamChecksum()
    content = snapshot.stream(report)
    if encrypt_to:
        content = checksummed(encrypt_stream(content, encrypt_to), stored)
    await copies.write(SEALED if encrypt_to else DATABASE, spooled(content))
    return stored


async def _describe(
    snapshot: MemberSnapshot,
    name: str,
    at: datetime,
    cluster: str,
    member: str,
    members: Mapping[str, str],
    canary: str,
) -> Manifest:
    """Return the manifest of a snapshot that was streamed. Raises Damaged, or EtcdRpcError if there is no hash."""
    hashed = await snapshot.hash()
    return Manifest(
        name=name,
        cluster=cluster,
        cluster_id=f"{snapshot.status.cluster_id:x}",
        member=member,
        members=members,
        version=str(snapshot.status.version),
        taken_at=at,
        size=snapshot.checksum.size,
        sha256=snapshot.checksum.sha256,
        revision=snapshot.extent.revision,
        keys=snapshot.extent.keys,
        kv_hash=hashed.hash,
        compact_revision=hashed.compact_revision,
        canary=canary,
        signed=True,
    )


async def _write_canary(client: EtcdClient, name: str) -> str:
    """Write a key through this member and return its value. When the write returns, the member has it (rule 53).

    If the quota is used up, etcd accepts no write, and a backup is needed most. Then a linearizable read waits for the
    same state, and there is no canary.
    """
    try:
        await client.put(CANARY, name.encode(), timeout_s=REQUEST_S)
    except EtcdRefused as error:
        if _FULL not in error.message:
            raise
        await client.get(CANARY, timeout_s=REQUEST_S)
        return ""
    return name


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
