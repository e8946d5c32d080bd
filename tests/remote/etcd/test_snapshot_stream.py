"""The bytes of a snapshot out of gRPC's messages, against the generated code; and the thread that asks for them."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.remote.etcd.pb import rpc_pb2 as pb
from etcdup.remote.etcd.snapshot_stream import PIECES_AHEAD, StreamStalled, blob_of, blobs_of, read_pieces

S = 10.0

numbers = st.integers(0, 2**64 - 1)
headers = st.builds(
    pb.ResponseHeader, cluster_id=numbers, member_id=numbers, revision=st.integers(0, 2**63 - 1)
)
responses = st.builds(
    pb.SnapshotResponse,
    header=headers,
    remaining_bytes=numbers,
    blob=st.binary(max_size=300),
    version=st.text(max_size=10),
)


@settings(deadline=None)
@given(responses)
def test_a_blob_is_what_the_generated_code_finds(response: pb.SnapshotResponse) -> None:
    assert bytes(blob_of(response.SerializeToString())) == response.blob


@settings(deadline=None)
@given(responses, st.data())
def test_a_message_cut_anywhere_never_gives_other_bytes(
    response: pb.SnapshotResponse, data: st.DataObject
) -> None:
    message = response.SerializeToString()
    cut = message[: data.draw(st.integers(0, len(message)))]
    try:
        found = bytes(blob_of(cut))
    except ValueError:
        return
    assert found in (response.blob, b"")


def test_what_is_no_field_of_a_snapshot_is_refused() -> None:
    with pytest.raises(ValueError, match="wire type 5"):
        blob_of(b"\x0d\0\0\0\0")


@settings(deadline=None)
@given(st.lists(responses, max_size=5), st.data())
def test_messages_cut_anywhere_are_found_as_they_become_whole(
    sent: list[pb.SnapshotResponse], data: st.DataObject
) -> None:
    messages = [response.SerializeToString() for response in sent]
    content = b"".join(bytes(1) + len(message).to_bytes(4) + message for message in messages)
    cut = data.draw(st.integers(0, len(content)))
    first, end = blobs_of(content[:cut])
    second, rest = blobs_of(content[end:])
    assert first + second == b"".join(response.blob for response in sent)
    assert end + rest == len(content)


@pytest.mark.parametrize("prefix", [b"\1\0\0\0\0", b"\0\xff\0\0\0"])
def test_what_no_member_sends_is_refused(prefix: bytes) -> None:
    with pytest.raises(ValueError, match="compressed, or so long"):
        blobs_of(prefix)


class Answers:
    """A call of so many pieces, that stands still after them unless it is to end."""

    def __init__(self, count: int, *, ends: bool = True) -> None:
        self.heard_at = 0.0
        self.asked = 0
        self.cancelled = threading.Event()
        self.is_closed = False
        self._count = count
        self._ends = ends

    def piece(self) -> bytes:
        if self.cancelled.is_set():
            raise ConnectionResetError("cancelled")
        if self.asked == self._count:
            if not self._ends:
                self.cancelled.wait(S)
            return b""
        self.asked += 1
        self.heard_at = time.monotonic()
        return b"%4d" % self.asked

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.is_closed = True


async def test_every_piece_comes_once_and_in_order() -> None:
    call = Answers(100)
    content = [piece async for piece in read_pieces(call, S)]
    assert content == [b"%4d" % number for number in range(1, 101)]
    await wait_until(lambda: call.is_closed)


async def test_no_more_is_asked_for_than_a_few_pieces_ahead() -> None:
    call = Answers(1000)
    async with aclosing(read_pieces(call, S)) as pieces:
        for taken in range(3):
            await anext(pieces)
            await wait_until(lambda: call.asked >= PIECES_AHEAD + taken)  # noqa: B023  awaited within the loop
            await asyncio.sleep(0.05)
            assert call.asked == PIECES_AHEAD + taken
    assert call.cancelled.is_set()
    await wait_until(lambda: call.is_closed)


async def test_a_silence_ends_it() -> None:
    call = Answers(3, ends=False)
    with pytest.raises(StreamStalled):
        async for _ in read_pieces(call, 1.0):
            pass
    assert call.asked == 3
    await wait_until(lambda: call.is_closed)


async def test_who_takes_its_time_has_heard_no_silence() -> None:
    call = Answers(10)
    async with aclosing(read_pieces(call, 1.0)) as pieces:
        await anext(pieces)
        call.heard_at -= 60
        assert [await anext(pieces) for _ in range(9)][-1] == b"  10"


async def test_whoever_stops_asking_lets_go_also_of_a_call_that_stands_still() -> None:
    call = Answers(1, ends=False)
    pieces = read_pieces(call, S)
    await anext(pieces)
    asking = asyncio.ensure_future(anext(pieces))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await wait_until(lambda: call.is_closed)


async def wait_until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(S):
        while not is_so():  # noqa: ASYNC110  a thread brings it about
            await asyncio.sleep(0.01)


class Broken(Answers):
    def piece(self) -> bytes:
        if self.asked == 2:
            raise ConnectionResetError("cut off")
        return super().piece()


async def test_what_came_before_a_failure_comes_and_then_the_failure() -> None:
    pieces = read_pieces(Broken(9), S)
    assert [await anext(pieces), await anext(pieces)] == [b"   1", b"   2"]
    with pytest.raises(ConnectionResetError, match="cut off"):
        await anext(pieces)
