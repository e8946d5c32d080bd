"""A member's database as a stream, past grpc.aio and past the generated code.

It comes in messages of 32 KiB. grpc.aio leads each of them through two threads and the event loop, and the generated
code copies it twice: that took more than TLS, HTTP/2 and SHA-256 together. Here one thread asks for one after another,
a piece ahead of whoever takes them, and finds the bytes where they lie.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import Protocol

from etcdup.core.wire import read_varint

SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot"
# grpc.experimental.ChannelOptions.SingleThreadedUnaryStream: no thread of grpc's own stands between.
ONE_THREAD = ("SingleThreadedUnaryStream", 1)
_MESSAGES_OF_A_PIECE = 16

# SnapshotResponse in rpc.proto
_BLOB = 3
_VARINT, _LENGTH_DELIMITED = 0, 2


class Call(Protocol):
    """What is needed of grpc's: to wait in a thread for its next message, and to end it from another one."""

    def __next__(self) -> bytes: ...

    def __iter__(self) -> Iterator[bytes]: ...

    def cancel(self) -> bool: ...


async def pieces_of(call: Call, timeout_s: float) -> AsyncGenerator[bytes, None]:
    """Raises TimeoutError after so long a silence, ValueError where something else is sent."""
    reader, loop = _Reader(call), asyncio.get_running_loop()
    reading = loop.run_in_executor(None, reader.piece)
    try:
        while piece := await reader.heard(reading, timeout_s):
            reading = loop.run_in_executor(None, reader.piece)
            yield piece
    finally:
        call.cancel()
        await asyncio.wait([reading])
        reading.exception()  # raised above already, or nobody asks any more


class _Reader:
    """The thread's side."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._last = time.monotonic()

    def piece(self) -> bytes:
        """Several messages as one, since it costs to hand anything on; empty at the end."""
        held = []
        for message in islice(self._call, _MESSAGES_OF_A_PIECE):
            self._last = time.monotonic()
            held.append(blob_of(message))
        return b"".join(held)

    async def heard(self, reading: asyncio.Future[bytes], timeout_s: float) -> bytes:
        while not reading.done():
            left_s = self._last + timeout_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            await asyncio.wait([reading], timeout=left_s)
        return reading.result()


def blob_of(message: bytes) -> memoryview:
    """Of a serialized SnapshotResponse; empty where it has none. Raises ValueError."""
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        number, wire_type = key >> 3, key & 7
        if wire_type not in (_VARINT, _LENGTH_DELIMITED):
            raise ValueError(f"no field of a snapshot has wire type {wire_type}")
        value, at = read_varint(message, at)
        if wire_type == _VARINT:
            continue
        if at + value > len(message):
            raise ValueError("the message ends within a field")
        if number == _BLOB:
            return memoryview(message)[at : at + value]
        at += value
    return memoryview(b"")
