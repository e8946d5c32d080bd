"""Stream the database of a member over gRPC, in a thread of its own.

etcd sends the database in messages of 32 KiB. With grpc.aio the event loop, which also feeds the upload, handles each
message, and a snapshot takes about a fifth longer. So a thread reads the messages with gRPC's blocking API and joins
them to pieces. The thread is at most PIECES_AHEAD pieces ahead of the reader; then gRPC's flow control makes the member
wait.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Protocol

from etcdup.remote.etcd.errors import EtcdTimeout, translate
from etcdup.remote.etcd.grpc_library import grpc, pb, services

PIECE_BYTES = 1 << 20
PIECES_AHEAD = 3

# Pairs of names and values that are sent with a call.
Metadata = tuple[tuple[str, str], ...]


class CallFailed(Exception):
    """The gRPC status of a failed call: the name of its code, and the details."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class StreamStalled(Exception):
    """No part of the snapshot arrived for too long."""


class PieceSource(Protocol):
    """A call from which one thread reads one piece after another.

    `heard_at` is the time at which a part of the snapshot last arrived, by the monotonic clock.
    """

    heard_at: float

    def piece(self) -> bytes:
        """Block until the next piece is there. The result is empty at the end of the snapshot."""
        ...

    def cancel(self) -> None:
        """End the call. May be called from another thread: a thread that waits for a piece gets an error."""
        ...

    def close(self) -> None: ...


async def stream_snapshot(
    member: str, channel: "grpc.Channel", *, metadata: Metadata = (), timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Yield the snapshot in pieces, and close the channel. `aclose` ends the snapshot early.

    Raises an EtcdRpcError: EtcdTimeout if no part of the snapshot arrives for `timeout_s`.
    """
    with _etcd_errors(member, timeout_s):
        async with aclosing(read_pieces(SnapshotCall(channel, metadata), timeout_s)) as pieces:
            async for piece in pieces:
                yield piece


@contextmanager
def _etcd_errors(member: str, timeout_s: float) -> Iterator[None]:
    """Raise an EtcdRpcError in place of the errors of this module."""
    try:
        yield
    except StreamStalled:
        raise EtcdTimeout(member, f"no part of the snapshot arrived for {timeout_s:g} s") from None
    except CallFailed as failed:
        raise translate(member, failed.code, failed.details, timeout_s) from None


async def read_pieces(call: PieceSource, timeout_s: float) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a call that a new thread reads. The call is closed in each case.

    Raises StreamStalled after `timeout_s` without a part of the snapshot, and the errors of `piece`.
    """
    loop, arrived, slots = (
        asyncio.get_running_loop(),
        asyncio.Queue[bytes | Exception](),
        _PieceSlots(PIECES_AHEAD),
    )

    def hand_over(item: bytes | Exception) -> None:
        with suppress(RuntimeError):  # The event loop is closed, so there is no reader any more.
            loop.call_soon_threadsafe(arrived.put_nowait, item)

    def read() -> None:
        try:
            while slots.acquire() and (piece := call.piece()):
                hand_over(piece)
            hand_over(b"")
        except Exception as error:
            hand_over(error)
        finally:
            call.close()

    threading.Thread(target=read, name="snapshot", daemon=True).start()
    try:
        while piece := await _next_piece(call, arrived, timeout_s):
            yield piece
            slots.release()
    finally:
        call.cancel()
        slots.close()


async def _next_piece(
    call: PieceSource, arrived: asyncio.Queue[bytes | Exception], timeout_s: float
) -> bytes:
    call.heard_at = time.monotonic()  # The time that the reader needed for the last piece does not count.
    while (left_s := call.heard_at + timeout_s - time.monotonic()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            return item
    raise StreamStalled


class SnapshotCall:
    """A call of etcd's Snapshot, which starts at once. `piece` raises CallFailed."""

    def __init__(self, channel: "grpc.Channel", metadata: Metadata = ()) -> None:
        self.heard_at = time.monotonic()
        self._channel = channel
        self._responses = services.MaintenanceStub(channel).Snapshot(pb.SnapshotRequest(), metadata=metadata)

    def piece(self) -> bytes:
        blobs: list[bytes] = []
        size = 0
        try:
            for response in self._responses:
                self.heard_at = time.monotonic()
                blobs.append(response.blob)
                size += len(response.blob)
                if size >= PIECE_BYTES:
                    break
        except grpc.RpcError:
            raise CallFailed(self._responses.code().name, self._responses.details() or "") from None
        return b"".join(blobs)

    def cancel(self) -> None:
        self._channel.close()

    def close(self) -> None:
        self._channel.close()
        # gRPC keeps the connection until the last event of the call is read.
        with suppress(grpc.RpcError):
            for _ in self._responses:
                pass


class _PieceSlots:
    """Places for pieces that the thread has read and the reader has not taken."""

    def __init__(self, pieces: int) -> None:
        self._free = threading.Semaphore(pieces)
        self._is_closed = False

    def acquire(self) -> bool:
        """Wait for a free slot. The result is False if no more pieces are wanted."""
        self._free.acquire()
        return not self._is_closed

    def release(self) -> None:
        self._free.release()

    def close(self) -> None:
        self._is_closed = True
        self._free.release()
