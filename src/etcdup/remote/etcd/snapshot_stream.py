"""A member's database as a stream, past grpc.

It comes in messages of 32 KiB, and grpc does as much for each of them as for a call: that took two and a half times the
CPU of all that is needed, which is TLS, the frames of HTTP/2, and to find the bytes in a message. One thread does that
for one piece after another, some pieces ahead of whoever takes them.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Protocol
from urllib.parse import unquote

from etcdup.core.etcd.varint import read_varint
from etcdup.remote.etcd.client import Credentials
from etcdup.remote.etcd.errors import BY_CODE, EtcdInternalError, EtcdTimeout, translate
from etcdup.remote.etcd.http2 import EndedEarly, Exchange, Http2Error
from etcdup.remote.etcd.tls import TlsStream, client_context, connect_socket

_METHOD = "/etcdserverpb.Maintenance/Snapshot"
PIECE_BYTES = 1 << 20
PIECES_AHEAD = 3
# How long it may take to connect.
_CONNECT_S = 5.0

# A message of gRPC: whether it is compressed, its length, itself. SnapshotRequest is empty.
_PREFIX_BYTES = 5
_REQUEST = bytes(_PREFIX_BYTES)
# etcd sends 32 KiB at a time. What is longer than a piece would never be whole.
_MESSAGE_BYTES = PIECE_BYTES - _PREFIX_BYTES
# By their numbers.
_CODES = ("OK", *BY_CODE)
# What gRPC makes of an answer that is not its own: of a proxy, say.
_HTTP_CODES = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}

# SnapshotResponse in rpc.proto
_BLOB = 3
_VARINT, _LENGTH_DELIMITED = 0, 2


class CallFailed(Exception):
    """gRPC's status of the call: the name of its code, and what the member said."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class StreamStalled(Exception):
    """Nothing of the snapshot came for too long."""


class PieceSource(Protocol):
    """What a thread asks for one piece after another. `heard_at`: when some of it last came, by the monotonic clock."""

    heard_at: float

    def piece(self) -> bytes:
        """Blocks; empty at the end."""
        ...

    def cancel(self) -> None:
        """From another thread: whoever waits for a piece gets an error instead."""
        ...

    def close(self) -> None: ...


async def stream_snapshot(
    member: str, target: str, server_name: str, credentials: Credentials, *, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """In pieces; `aclose` ends it early. Raises an EtcdError after `timeout_s` of silence too."""
    with _explained(member, timeout_s):
        call = await _connect_within(
            member, open_call(target, server_name, credentials), min(timeout_s, _CONNECT_S)
        )
        async with aclosing(read_pieces(call, timeout_s)) as pieces:
            async for piece in pieces:
                yield piece


async def _connect_within(
    member: str, connecting: Awaitable["SnapshotCall"], timeout_s: float
) -> "SnapshotCall":
    try:
        async with asyncio.timeout(timeout_s):
            return await connecting
    except TimeoutError:
        raise EtcdTimeout(member, f"no answer within {timeout_s:g} s") from None


@contextmanager
def _explained(member: str, timeout_s: float) -> Iterator[None]:
    """What ends a snapshot before its end, as an EtcdError."""
    try:
        yield
    except StreamStalled:
        raise EtcdTimeout(member, f"the snapshot stood still for {timeout_s:g} s") from None
    except CallFailed as failed:
        raise translate(member, failed.code, failed.details, timeout_s) from None
    except EndedEarly as ended:
        raise translate(member, "UNAVAILABLE", f"stream removed: {ended}", timeout_s) from None
    except Http2Error as error:
        raise EtcdInternalError(member, f"what it sends is not HTTP/2 as etcd speaks it: {error}") from None
    except OSError as error:  # before ValueError: a certificate that does not pass is both
        raise translate(member, "UNAVAILABLE", str(error), timeout_s) from error
    except ValueError as error:
        raise EtcdInternalError(member, f"what it sent is no part of a snapshot: {error}") from None


async def read_pieces(call: PieceSource, timeout_s: float) -> AsyncGenerator[bytes, None]:
    """Raises StoodStill after so long a silence, and what `piece` raises. However it ends, the call is closed."""
    loop, came, room = (
        asyncio.get_running_loop(),
        asyncio.Queue[bytes | Exception](),
        _PieceSlots(PIECES_AHEAD),
    )

    def hand_on(item: bytes | Exception) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody asks any more
            loop.call_soon_threadsafe(came.put_nowait, item)

    def read() -> None:
        try:
            while room.acquire() and (piece := call.piece()):
                hand_on(piece)
            hand_on(b"")
        except Exception as error:
            hand_on(error)
        finally:
            call.close()

    threading.Thread(target=read, name="snapshot", daemon=True).start()
    try:
        while piece := await _next_piece(call, came, timeout_s):
            yield piece
            room.release()
    finally:
        call.cancel()
        room.close()


async def _next_piece(call: PieceSource, came: asyncio.Queue[bytes | Exception], timeout_s: float) -> bytes:
    call.heard_at = time.monotonic()  # that the taker was slow is no silence
    while (left_s := call.heard_at + timeout_s - time.monotonic()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                item = await came.get()
            if isinstance(item, Exception):
                raise item
            return item
    raise StreamStalled


async def open_call(target: str, server_name: str, credentials: Credentials) -> "SnapshotCall":
    """Connects. Raises OSError."""
    context = client_context(credentials)
    return SnapshotCall(TlsStream(await connect_socket(target), context, server_name), server_name)


class SnapshotCall:
    """etcd's Snapshot, over a connection of its own.

    `piece` raises OSError, Http2Error, EndedEarly, CallFailed, and ValueError where something else than a snapshot
    comes.
    """

    def __init__(self, connection: TlsStream, authority: str) -> None:
        self.heard_at = time.monotonic()
        self._connection = connection
        self._is_asked = False
        self._exchange = Exchange(
            {
                ":method": "POST",
                ":scheme": "https",
                ":path": _METHOD,
                ":authority": authority,
                "te": "trailers",
                "content-type": "application/grpc",
            },
            _REQUEST,
        )

    def piece(self) -> bytes:
        exchange = self._exchange
        if not self._is_asked:
            self._connection.handshake()
            self._connection.send(exchange.opening())
            self._is_asked = True
        while True:
            while len(exchange.body) < PIECE_BYTES and not exchange.has_ended:
                self._receive()
            blobs, end = blobs_of(exchange.body)
            del exchange.body[:end]
            if blobs:
                return blobs
            if exchange.has_ended:
                self._check_status()
                return b""

    def _receive(self) -> None:
        before = len(self._exchange.body)
        count = self._connection.receive(self._exchange.space())
        if answer := self._exchange.feed(count):
            self._connection.send(answer)
        if len(self._exchange.body) > before:
            self.heard_at = time.monotonic()

    def cancel(self) -> None:
        self._connection.cancel()

    def close(self) -> None:
        self._connection.close()

    def _check_status(self) -> None:
        """Raises unless all was sent, and the member says so."""
        headers = self._exchange.headers
        if (code := _code(headers)) != "OK":
            http = f"HTTP status {headers.get(':status')}"
            raise CallFailed(code, unquote(headers.get("grpc-message", http)))
        if self._exchange.body:
            raise ValueError("it ends within a message")


def _code(headers: dict[str, str]) -> str:
    number = headers.get("grpc-status")
    if number is None:
        return _HTTP_CODES.get(headers.get(":status", ""), "UNKNOWN")
    return _CODES[int(number)] if number.isdecimal() and int(number) < len(_CODES) else "UNKNOWN"


class _PieceSlots:
    """For so many pieces that nobody has taken yet."""

    def __init__(self, pieces: int) -> None:
        self._free = threading.Semaphore(pieces)
        self._is_closed = False

    def acquire(self) -> bool:
        """Waits for room; False once nobody wants any more."""
        self._free.acquire()
        return not self._is_closed

    def release(self) -> None:
        self._free.release()

    def close(self) -> None:
        self._is_closed = True
        self._free.release()


def blobs_of(body: bytes | bytearray) -> tuple[bytes, int]:
    """The blobs of the messages that are whole, as one, and where the last of them ends. Raises ValueError."""
    found, at, view = [], 0, memoryview(body)
    while len(view) - at >= _PREFIX_BYTES:
        start = at + _PREFIX_BYTES
        size = int.from_bytes(view[at + 1 : start])
        if view[at] != 0 or size > _MESSAGE_BYTES:
            raise ValueError("no part of a snapshot is compressed, or so long")
        if start + size > len(view):
            break
        at = start + size
        found.append(blob_of(view[start:at]))
    return b"".join(found), at


def blob_of(message: memoryview | bytes) -> memoryview:
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
