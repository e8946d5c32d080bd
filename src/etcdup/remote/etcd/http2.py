"""HTTP/2 (RFC 9113) as the client of one request speaks it: bytes in, bytes out, no I/O.

For a response of a GiB, which comes in frames of 16 KiB: nothing is made of one but the bytes that it holds. Headers
are hpack's affair (RFC 7541).
"""

import struct

from hpack import Decoder, Encoder, HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# What the other side may send before it has to hear that there is room again. It waits with the kernel, not here.
WINDOW_BYTES = 4 << 20
# Our settings let no frame be larger.
FRAME_BYTES = 16 << 10
_BUFFER_BYTES = 16 * FRAME_BYTES
_FIRST_WINDOW_BYTES = (1 << 16) - 1
_STREAM = 1
_OURS = _STREAM.to_bytes(4)
_CONNECTION = 0

# Length (24 bits, as 16 and 8), type, flags, stream.
_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_PRIORITY_BYTES = 5


class Kind:
    """Types of frames. Plain numbers, as the flags are: to compare an enum's takes longer than all else that is done to
    a frame."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Flag:
    """ACK is END_STREAM's bit, on SETTINGS and PING."""

    END_STREAM = 0x1
    ACK = 0x1
    END_HEADERS = 0x4
    PADDED = 0x8
    PRIORITY = 0x20


class Setting:
    """What one side asks of the other."""

    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class Http2Error(Exception):
    """The other side does not keep to the protocol."""


class EndedEarly(Exception):
    """The other side ended the exchange before its end, as it may."""


class Exchange:
    """One request and its response.

    `headers` are those that came last: in the end the trailers. `body` grows; who reads it takes from its beginning.
    """

    def __init__(self, headers: dict[str, str], content: bytes) -> None:
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.has_ended = False
        self._request = (headers, content)
        self._buffer = bytearray(_BUFFER_BYTES)
        self._have = 0
        self._unacknowledged = 0
        self._block = bytearray()
        self._block_ends_it = False
        self._decoder = Decoder()
        self._answer = bytearray()

    def opening(self) -> bytes:
        """What is sent first: the whole request."""
        headers, content = self._request
        settings = {
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
            Setting.MAX_FRAME_SIZE: FRAME_BYTES,
        }
        return b"".join(
            (
                PREFACE,
                frame(Kind.SETTINGS, 0, _CONNECTION, b"".join(_SETTING.pack(*s) for s in settings.items())),
                _window_update(_CONNECTION, WINDOW_BYTES - _FIRST_WINDOW_BYTES),
                frame(Kind.HEADERS, Flag.END_HEADERS, _STREAM, Encoder().encode(headers.items())),
                frame(Kind.DATA, Flag.END_STREAM, _STREAM, content),
            )
        )

    def space(self) -> memoryview:
        """Where the next bytes are to be put; valid until `received`."""
        return memoryview(self._buffer)[self._have :]

    def feed(self, count: int) -> bytes:
        """So many bytes were put into `space`. What is to be sent back, often nothing.

        Raises Http2Error, EndedEarly.
        """
        self._have += count
        at = 0
        try:
            while (end := self._frame_end(at)) <= self._have:
                self._take(at + _HEAD.size, end)
                at = end
        except (HPACKError, struct.error) as broken:
            raise Http2Error(f"a frame cannot be read: {broken}") from None
        self._buffer[: self._have - at] = self._buffer[at : self._have]
        self._have -= at
        return self._take_answer()

    def _frame_end(self, at: int) -> int:
        """Beyond what there is, where it is not whole yet."""
        if self._have - at < _HEAD.size:
            return self._have + 1
        size = int.from_bytes(self._buffer[at : at + 3])
        if size > FRAME_BYTES:
            raise Http2Error(f"a frame of {size} bytes is too long")
        return at + _HEAD.size + size

    def _take(self, start: int, end: int) -> None:
        kind, flags = self._buffer[start - 6], self._buffer[start - 5]
        if self.has_ended:
            return
        if kind == Kind.DATA:
            self._take_data(flags, start, end)
        elif kind in (Kind.HEADERS, Kind.CONTINUATION):
            self._take_headers(kind, flags, start, end)
        else:
            self._take_control(kind, flags, bytes(self._buffer[start:end]))

    def _take_data(self, flags: int, start: int, end: int) -> None:
        self._check_stream(start)
        self._unacknowledged += end - start  # padding counts too
        if flags & Flag.PADDED:
            start, end = self._without_padding(start, end)
        self.body += memoryview(self._buffer)[start:end]
        self.has_ended = bool(flags & Flag.END_STREAM)

    def _take_headers(self, kind: int, flags: int, start: int, end: int) -> None:
        self._check_stream(start)
        if kind == Kind.HEADERS:
            self._block_ends_it = bool(flags & Flag.END_STREAM)
            if flags & Flag.PADDED:
                start, end = self._without_padding(start, end)
            if flags & Flag.PRIORITY:
                start += _PRIORITY_BYTES
        self._block += self._buffer[start:end]
        if len(self._block) > FRAME_BYTES:
            raise Http2Error("headers without an end")
        if not flags & Flag.END_HEADERS:
            return
        self.headers = {_text(name): _text(value) for name, value in self._decoder.decode(bytes(self._block))}
        self._block.clear()
        self.has_ended = self._block_ends_it

    def _take_control(self, kind: int, flags: int, content: bytes) -> None:
        if kind in (Kind.SETTINGS, Kind.PING) and not flags & Flag.ACK:
            self._answer += frame(kind, Flag.ACK, _CONNECTION, content if kind == Kind.PING else b"")
        elif kind == Kind.RST_STREAM:
            raise EndedEarly(f"the stream was reset: code {_NUMBER.unpack(content)[0]}")
        elif kind == Kind.GOAWAY and _NUMBER.unpack_from(content)[0] < _STREAM:
            raise EndedEarly(f"the connection is being closed: code {_NUMBER.unpack_from(content, 4)[0]}")
        elif kind == Kind.PUSH_PROMISE:
            raise Http2Error("something was pushed that nobody asked for")

    def _check_stream(self, start: int) -> None:
        if self._buffer[start - 4 : start] != _OURS:
            raise Http2Error("something is of a stream that nobody opened")

    def _without_padding(self, start: int, end: int) -> tuple[int, int]:
        if start == end or start + 1 + self._buffer[start] > end:
            raise Http2Error("a frame is all padding, and more")
        return start + 1, end - self._buffer[start]

    def _take_answer(self) -> bytes:
        """Room is told of early enough for the other side never to stand still for it; at the end nobody listens."""
        if self.has_ended:
            return b""
        if self._unacknowledged >= WINDOW_BYTES // 4:
            self._answer += _window_update(_CONNECTION, self._unacknowledged) + _window_update(
                _STREAM, self._unacknowledged
            )
            self._unacknowledged = 0
        answer = bytes(self._answer)
        self._answer.clear()
        return answer


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    size = len(content)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + content


def _window_update(stream: int, count: int) -> bytes:
    return frame(Kind.WINDOW_UPDATE, 0, stream, _NUMBER.pack(count))


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")
