"""The bytes of a snapshot out of grpc's messages, against the generated code; and the thread that asks for them."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.remote.etcd_snapshot import blob_of, pieces_of
from etcdup.remote.pb import rpc_pb2 as pb

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


@given(responses)
def test_a_blob_is_what_the_generated_code_finds(response: pb.SnapshotResponse) -> None:
    assert bytes(blob_of(response.SerializeToString())) == response.blob


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


class Answers:
    """A call of so many messages, that stands still after them unless it is to end."""

    def __init__(self, count: int, *, ends: bool = True) -> None:
        self.asked = 0
        self.cancelled = threading.Event()
        self._count = count
        self._ends = ends

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.cancelled.is_set():
            raise RuntimeError("cancelled")
        if self.asked == self._count:
            if not self._ends:
                self.cancelled.wait(S)
            raise StopIteration
        self.asked += 1
        return pb.SnapshotResponse(blob=b"%4d" % self.asked).SerializeToString()

    def cancel(self) -> bool:
        self.cancelled.set()
        return True


async def test_every_message_comes_once_and_in_order() -> None:
    content = b"".join([piece async for piece in pieces_of(Answers(100), S)])
    assert content == b"".join(b"%4d" % number for number in range(1, 101))


async def test_no_more_is_asked_for_than_one_piece_ahead() -> None:
    call = Answers(1000)
    async with aclosing(pieces_of(call, S)) as pieces:
        first = await anext(pieces)
        await asyncio.sleep(0.1)
        assert call.asked <= 2 * len(first) / 4
    assert call.cancelled.is_set()


async def test_a_silence_ends_it() -> None:
    call = Answers(3, ends=False)
    with pytest.raises(TimeoutError):
        await anext(pieces_of(call, 0.1))
    assert call.cancelled.is_set()
