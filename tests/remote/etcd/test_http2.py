"""HTTP/2 for one request, without a network: what is sent comes out, however it was cut, and what is wrong is said."""

from collections.abc import Iterable
from contextlib import suppress

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.remote.etcd.http2 import (
    FRAME_BYTES,
    PREFACE,
    WINDOW_BYTES,
    EndedEarly,
    Exchange,
    Flag,
    Http2Error,
    Kind,
    frame,
)

START, TRAILERS = {":status": "200"}, {"grpc-status": "0", "grpc-message": "fine%20so far"}
BODY = bytes(range(256)) * 50


def exchange() -> Exchange:
    return Exchange({":method": "POST", ":path": "/", "te": "trailers"}, b"asked")


def feed(into: Exchange, content: bytes) -> bytes:
    """What it answers to all of it."""
    answered, at = b"", 0
    while at < len(content):
        space = into.space()
        part = content[at : at + len(space)]
        space[: len(part)] = part
        answered += into.feed(len(part))
        at += len(part)
    return answered


def frames_of(content: bytes) -> Iterable[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload."""
    while content:
        end = 9 + int.from_bytes(content[:3])
        yield content[3], content[4], int.from_bytes(content[5:9]), content[9:end]
        content = content[end:]


def response(pieces: Iterable[bytes], pad: int = 0) -> bytes:
    encoder = Encoder()
    sent = [
        frame(Kind.SETTINGS, 0, 0, b""),
        frame(Kind.HEADERS, Flag.END_HEADERS, 1, encoder.encode(START.items())),
    ]
    for piece in pieces:
        padded = bytes([pad]) + piece + bytes(pad) if pad else piece
        sent.append(frame(Kind.DATA, Flag.PADDED if pad else 0, 1, padded))
    block = encoder.encode(TRAILERS.items())
    sent.append(frame(Kind.HEADERS, Flag.END_STREAM, 1, block[:3]))
    sent.append(frame(Kind.CONTINUATION, Flag.END_HEADERS, 1, block[3:]))
    return b"".join(sent)


def test_the_whole_request_goes_first() -> None:
    opening = exchange().opening()
    assert opening.startswith(PREFACE)
    kinds = [kind for kind, *_ in frames_of(opening[len(PREFACE) :])]
    assert kinds == [Kind.SETTINGS, Kind.WINDOW_UPDATE, Kind.HEADERS, Kind.DATA]
    settings, more, _, last = frames_of(opening[len(PREFACE) :])
    asked = {
        content[at + 1]: int.from_bytes(content[at + 2 : at + 6])
        for content in settings[3:]
        for at in (0, 6, 12)
    }
    assert asked == {2: 0, 4: WINDOW_BYTES, 5: FRAME_BYTES}
    assert int.from_bytes(more[3]) == WINDOW_BYTES - 65535
    assert last == (Kind.DATA, Flag.END_STREAM, 1, b"asked")


@settings(deadline=None)
@given(
    cuts=st.lists(st.integers(1, 3000), max_size=40),
    sizes=st.lists(st.integers(0, 3000)),
    pad=st.integers(0, 255),
)
def test_a_response_cut_anywhere_comes_out_whole(cuts: list[int], sizes: list[int], pad: int) -> None:
    into, content = exchange(), response([BODY[:size] for size in sizes], pad)
    for cut in cuts:
        assert into.has_ended == (not content)
        feed(into, content[:cut])
        content = content[cut:]
    feed(into, content)
    assert into.has_ended
    assert into.body == b"".join(BODY[:size] for size in sizes)
    assert into.headers == TRAILERS


def test_as_much_room_is_told_of_as_was_taken() -> None:
    into, count = exchange(), 3 * WINDOW_BYTES // FRAME_BYTES
    answered = feed(into, response([bytes(FRAME_BYTES)] * count))
    for stream in (0, 1):
        told = [
            int.from_bytes(content)
            for kind, _, on, content in frames_of(answered)
            if (kind, on) == (Kind.WINDOW_UPDATE, stream)
        ]
        assert len(into.body) - WINDOW_BYTES // 4 < sum(told) <= len(into.body)
        assert max(told) < WINDOW_BYTES // 2  # the other side always has some left


def test_padding_takes_room_as_well() -> None:
    into, count = exchange(), WINDOW_BYTES // 4 // 256
    answered = feed(into, frame(Kind.DATA, Flag.PADDED, 1, b"\xff" + bytes(255)) * count)
    assert [int.from_bytes(content) for *_, content in frames_of(answered)] == [WINDOW_BYTES // 4] * 2
    assert into.body == b""


def test_headers_may_have_a_priority() -> None:
    into, block = exchange(), Encoder().encode(TRAILERS.items())
    flags = Flag.PRIORITY | Flag.PADDED | Flag.END_HEADERS | Flag.END_STREAM
    feed(into, frame(Kind.HEADERS, flags, 1, b"\x02" + bytes(5) + block + bytes(2)))
    assert (into.has_ended, into.headers) == (True, TRAILERS)


def test_settings_and_pings_are_acknowledged_and_their_acknowledgements_are_not() -> None:
    into = exchange()
    asked = frame(Kind.SETTINGS, 0, 0, bytes(6)) + frame(Kind.PING, 0, 0, b"12345678")
    told = frame(Kind.SETTINGS, Flag.ACK, 0, b"") + frame(Kind.PING, Flag.ACK, 0, b"87654321")
    assert feed(into, asked + told) == frame(Kind.SETTINGS, Flag.ACK, 0, b"") + frame(
        Kind.PING, Flag.ACK, 0, b"12345678"
    )


def test_a_connection_that_is_closed_gracefully_brings_this_response_to_its_end() -> None:
    into = exchange()
    feed(into, frame(Kind.GOAWAY, 0, 0, (2**31 - 1).to_bytes(4) + bytes(4)) + response([BODY]))
    assert into.body == BODY


@pytest.mark.parametrize("kind", [Kind.RST_STREAM, Kind.DATA, Kind.PING])
def test_what_comes_after_the_end_changes_nothing(kind: int) -> None:
    into = exchange()
    feed(into, response([BODY]))
    assert feed(into, frame(kind, 0, 1, bytes(8))) == b""
    assert (into.has_ended, into.headers, bytes(into.body)) == (True, TRAILERS, BODY)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(Kind.DATA, 0, 3, b"theirs"), "nobody opened"),
        (frame(Kind.HEADERS, Flag.END_HEADERS, 0, b""), "nobody opened"),
        (frame(Kind.GOAWAY, 0, 0, b""), "cannot be read"),
        (frame(Kind.PUSH_PROMISE, 0, 1, b""), "pushed"),
        (frame(Kind.DATA, 0, 1, bytes(FRAME_BYTES + 1))[:9], "16385 bytes is too long"),
        (frame(Kind.DATA, Flag.PADDED, 1, b"\x05pad"), "all padding"),
        (frame(Kind.DATA, Flag.PADDED, 1, b""), "all padding"),
        (frame(Kind.HEADERS, Flag.END_HEADERS, 1, b"\xff\xff\xff\xff"), "cannot be read"),
        (frame(Kind.CONTINUATION, 0, 1, bytes(9000)) * 2, "without an end"),
    ],
)
def test_what_is_wrong_is_said(sent: bytes, why: str) -> None:
    with pytest.raises(Http2Error, match=why):
        feed(exchange(), sent)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(Kind.RST_STREAM, 0, 1, (11).to_bytes(4)), "reset: code 11"),
        (frame(Kind.GOAWAY, 0, 0, bytes(4) + (2).to_bytes(4)), "being closed: code 2"),
    ],
)
def test_the_other_side_may_end_it_early(sent: bytes, why: str) -> None:
    with pytest.raises(EndedEarly, match=why):
        feed(exchange(), sent)


@settings(deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_at_all_are_taken_or_refused(sent: bytes) -> None:
    with suppress(Http2Error, EndedEarly):
        feed(exchange(), sent)
