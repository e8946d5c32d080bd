"""The snapshot of one member, and the hash of the same data, which the member computes at the same time."""

import asyncio
from contextlib import aclosing

from etcdup.core.observed.member import MemberSeen
from etcdup.core.spec.units import show_transfer
from etcdup.ops.backups.backups import REPORT_BYTES, Damaged, Report, Stream
from etcdup.ops.backups.checksum import StreamChecksum
from etcdup.ops.backups.snapshot import STALL_S, refuse_endless_snapshot
from etcdup.remote.etcd.client import EtcdClient, KeyspaceSize, KvHash

REQUEST_S = 30.0
# The member reads its whole database for the hash, while it also sends the snapshot.
_HASH_S = 300.0


class MemberSnapshot:
    """A snapshot that is streamed once, with what the member reported directly before it. Call `cancel` at the end."""

    def __init__(self, client: EtcdClient, status: MemberSeen, extent: KeyspaceSize) -> None:
        self.status = status
        self.extent = extent
        self.checksum = StreamChecksum()
        self._client = client
        self._begun = asyncio.Event()
        self._hashing = asyncio.create_task(self._hash_once_begun())

    @classmethod
    async def open(cls, client: EtcdClient) -> "MemberSnapshot":
        """Read the status of the member and the extent of its keys. Raises EtcdRpcError."""
        status = await client.status(timeout_s=REQUEST_S)
        return cls(client, status, await client.read_keyspace_size(timeout_s=REQUEST_S))

    async def stream(self, report: Report) -> Stream:
        """Yield the snapshot. It fails if the hash fails, because the backup could then not be proved."""
        reported = 0
        async with aclosing(self._client.snapshot(timeout_s=STALL_S)) as pieces:
            async for piece in pieces:
                self._begun.set()
                if self._hashing.done():
                    self._hashing.result()
                self.checksum.update(piece)
                received = self.checksum.size
                refuse_endless_snapshot(self._client.name, received, self.status.db_size)
                if received - reported >= REPORT_BYTES:
                    reported = received
                    progress = show_transfer(received, self.status.db_size)
                    report(f"backup from {self._client.name}: {progress}")
                yield piece

    async def hash(self) -> KvHash:
        """Return the hash of the data, after the whole stream. Raises Damaged if the stream was not complete."""
        if not self.checksum.has_valid_trailer:
            name = self._client.name
            raise Damaged(
                f"the snapshot from {name} is damaged: it has {self.checksum.size} bytes, "
                "and the checksum at its end does not match",
                hint=f"try again; if the error remains, check the disk of {name} and the network",
            )
        return await self._hashing

    async def cancel(self) -> None:
        """End the request for the hash. Its error is not raised: another one was, or is more important."""
        self._hashing.cancel()
        await asyncio.wait([self._hashing])
        if not self._hashing.cancelled():
            self._hashing.exception()

    async def _hash_once_begun(self) -> KvHash:
        """Return the hash, requested after the stream has started.

        Otherwise the member would start the stream only after the hash, for which it reads its whole database.
        """
        await self._begun.wait()
        return await self._client.hash_kv(self.extent.revision, timeout_s=_HASH_S)
