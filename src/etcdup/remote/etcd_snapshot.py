"""A member's database as a stream, past grpc.

It comes in messages of 32 KiB, and grpc does as much for each of them as for a call: that took two and a half times the
CPU of all that is needed, which is TLS, the frames of HTTP/2, and to find the bytes in a message. One thread does that
for one piece after another, some pieces ahead of whoever takes them.
"""

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Protocol
from urllib.parse import unquote

from etcdup.core.wire import read_varint
from etcdup.remote.etcd_client import Credentials
from etcdup.remote.etcd_errors import BY_CODE
from etcdup.remote.http2 import Exchange, Http2Error

_METHOD = "/etcdserverpb.Maintenance/Snapshot"
PIECE_BYTES = 1 << 20
PIECES_AHEAD = 3
_CONNECT_S = 5.0
_ALPN = "h2"

# A message of gRPC: whether it is compressed, its length, itself. SnapshotRequest is empty.
_PREFIX_BYTES = 5
_REQUEST = bytes(_PREFIX_BYTES)
# etcd sends 32 KiB at a time. What is longer than a piece would never be whole.
_MESSAGE_BYTES = PIECE_BYTES - _PREFIX_BYTES
# gRPC's status codes, by number; BY_CODE has all others in their order.
_CODES = ("OK", *BY_CODE)

# SnapshotResponse in rpc.proto
_BLOB = 3
_VARINT, _LENGTH_DELIMITED = 0, 2


class CallFailed(Exception):
    """gRPC's status of the call: the name of its code, and what the member said."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details


class Call(Protocol):
    """What a thread asks for one piece after another. `heard_at`: when anything last came, by the monotonic clock."""

    heard_at: float

    def piece(self) -> bytes:
        """Blocks; empty at the end."""
        ...

    def cancel(self) -> None:
        """From another thread: whoever waits for a piece gets an error instead."""
        ...

    def close(self) -> None: ...


async def pieces_of(call: Call, timeout_s: float) -> AsyncGenerator[bytes, None]:
    """Raises TimeoutError after so long a silence, and what `piece` raises."""
    loop, came, room = asyncio.get_running_loop(), asyncio.Queue[bytes](), threading.Semaphore(PIECES_AHEAD)

    def read() -> None:
        try:
            while room.acquire() and (piece := call.piece()):
                loop.call_soon_threadsafe(came.put_nowait, piece)
        finally:
            loop.call_soon_threadsafe(came.put_nowait, b"")

    reading = loop.run_in_executor(None, read)
    try:
        while piece := await _heard(call, came, timeout_s):
            yield piece
            room.release()
        await reading
    finally:
        call.cancel()
        room.release()
        await asyncio.wait([reading])
        reading.exception()  # raised above already, or nobody asks any more
        call.close()


async def _heard(call: Call, came: asyncio.Queue[bytes], timeout_s: float) -> bytes:
    call.heard_at = time.monotonic()  # that the taker was slow is no silence
    while (left_s := call.heard_at + timeout_s - time.monotonic()) > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                return await came.get()
    raise TimeoutError


class SnapshotCall:
    """etcd's Snapshot, over a connection of its own that is made with the first piece.

    `piece` raises OSError, Http2Error, CallFailed, or ValueError where something else than a snapshot comes.
    """

    def __init__(self, target: str, server_name: str, credentials: Credentials) -> None:
        self.heard_at = time.monotonic()
        self._target = target
        self._server_name = server_name
        self._credentials = credentials
        self._socket: ssl.SSLSocket | None = None
        self._cancelled = False
        self._exchange = Exchange(
            {
                ":method": "POST",
                ":scheme": "https",
                ":path": _METHOD,
                ":authority": server_name,
                "te": "trailers",
                "content-type": "application/grpc",
            },
            _REQUEST,
        )

    def piece(self) -> bytes:
        connection = self._socket or self._connect()
        exchange = self._exchange
        while len(exchange.body) < PIECE_BYTES and not exchange.has_ended:
            self._receive(connection)
        blobs, end = blobs_of(exchange.body)
        del exchange.body[:end]
        if not blobs:
            self._against_failure()
        return blobs

    def _receive(self, connection: ssl.SSLSocket) -> None:
        count = connection.recv_into(self._exchange.space())
        if not count:
            raise ConnectionResetError("socket closed")
        self.heard_at = time.monotonic()
        if answer := self._exchange.received(count):
            connection.sendall(answer)

    def cancel(self) -> None:
        self._cancelled = True
        if self._socket is not None:
            _wake(self._socket)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _connect(self) -> ssl.SSLSocket:
        host, _, port = self._target.rpartition(":")
        plain = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S)
        try:
            context = _context(self._credentials)
            self._socket = context.wrap_socket(plain, server_hostname=self._server_name)
        except BaseException:
            plain.close()
            raise
        if self._cancelled:
            raise ConnectionAbortedError("cancelled")
        if self._socket.selected_alpn_protocol() != _ALPN:
            raise Http2Error("it does not speak HTTP/2")
        self._socket.settimeout(None)  # whoever waits for the pieces looks at the clock, and cancels
        self._socket.sendall(self._exchange.opening())
        return self._socket

    def _against_failure(self) -> None:
        """Raises unless all was sent, and the member says so."""
        headers = self._exchange.headers
        if headers.get("grpc-status") != "0":
            http = f"HTTP status {headers.get(':status')}"
            raise CallFailed(_code(headers), unquote(headers.get("grpc-message", http)))
        if self._exchange.body:
            raise ValueError("it ends within a message")


def _code(headers: dict[str, str]) -> str:
    number = headers.get("grpc-status", "")
    return _CODES[int(number)] if number.isdecimal() and int(number) < len(_CODES) else "UNKNOWN"


def _wake(connection: socket.socket) -> None:
    """The socket below TLS, which another thread is reading."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # it is closed already


def _context(credentials: Credentials) -> ssl.SSLContext:
    """Trusts the cluster's CA alone, as far as etcd's clients do: Python 3.13's stricter default asks more of a CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=credentials.ca.decode())
    context.set_alpn_protocols([_ALPN])
    # Python's ssl reads a key from a file alone: this one is in memory, without a name.
    descriptor = os.memfd_create("client")
    try:
        os.write(descriptor, credentials.cert + b"\n" + credentials.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


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
