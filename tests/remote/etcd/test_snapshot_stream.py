"""The thread that reads a snapshot ahead of its reader: order, limits, stalls, errors, and an early end."""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from etcdup.remote.etcd.snapshot_stream import PIECES_AHEAD, StreamStalled, read_pieces

S = 10.0


class Answers:
    """A call with this number of pieces, which then ends or stalls."""

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


async def test_each_piece_arrives_once_and_in_order() -> None:
    call = Answers(100)
    content = [piece async for piece in read_pieces(call, S)]
    assert content == [b"%4d" % number for number in range(1, 101)]
    await wait_until(lambda: call.is_closed)


async def test_only_a_few_pieces_are_read_ahead() -> None:
    call = Answers(1000)
    async with aclosing(read_pieces(call, S)) as pieces:
        for taken in range(3):
            await anext(pieces)
            await wait_until(lambda: call.asked >= PIECES_AHEAD + taken)  # noqa: B023  awaited within the loop
            await asyncio.sleep(0.05)
            assert call.asked == PIECES_AHEAD + taken
    assert call.cancelled.is_set()
    await wait_until(lambda: call.is_closed)


async def test_a_stalled_call_is_an_error() -> None:
    call = Answers(3, ends=False)
    with pytest.raises(StreamStalled):
        async for _ in read_pieces(call, 1.0):
            pass
    assert call.asked == 3
    await wait_until(lambda: call.is_closed)


async def test_a_slow_reader_is_no_stall() -> None:
    call = Answers(10)
    async with aclosing(read_pieces(call, 1.0)) as pieces:
        await anext(pieces)
        call.heard_at -= 60
        assert [await anext(pieces) for _ in range(9)][-1] == b"  10"


async def test_a_cancelled_reader_closes_a_stalled_call() -> None:
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
        while not is_so():  # noqa: ASYNC110  a thread changes it
            await asyncio.sleep(0.01)


class Broken(Answers):
    def piece(self) -> bytes:
        if self.asked == 2:
            raise ConnectionResetError("cut off")
        return super().piece()


async def test_pieces_before_an_error_arrive_before_the_error() -> None:
    pieces = read_pieces(Broken(9), S)
    assert [await anext(pieces), await anext(pieces)] == [b"   1", b"   2"]
    with pytest.raises(ConnectionResetError, match="cut off"):
        await anext(pieces)
