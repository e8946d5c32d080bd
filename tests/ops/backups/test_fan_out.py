"""One stream into several sinks: if one fails or is too slow, the others get all data, and memory is bounded."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from etcdup.ops.backups.fan_out import Stream, fan_out

PIECES = [bytes([number]) * 10 for number in range(50)]


class Source:
    """A stream that counts the pieces that were read, and may fail."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.read = 0
        self._fails_at = fails_at

    async def stream(self) -> AsyncGenerator[bytes, None]:
        for number, piece in enumerate(PIECES):
            if number == self._fails_at:
                raise ConnectionError("the member is gone")
            self.read += 1
            yield piece


class Sink:
    """A sink that stores its pieces. It fails or stops after the given number of pieces."""

    def __init__(self, fails_after: int = 1000, stops_after: int = 1000) -> None:
        self.got: list[bytes] = []
        self.cancelled = False
        self._fails_after = fails_after
        self._stops_after = stops_after
        self.released = asyncio.Event()

    async def take(self, stream: Stream) -> None:
        try:
            async for piece in stream:
                self.got.append(piece)
                if len(self.got) >= self._fails_after:
                    raise OSError("full")
                if len(self.got) >= self._stops_after:
                    await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_all_sinks_get_all_pieces() -> None:
    sinks = [Sink() for _ in range(3)]
    assert await fan_out(Source().stream(), [each.take for each in sinks]) == [None] * 3
    assert [each.got for each in sinks] == [PIECES] * 3


@pytest.mark.parametrize("after", [1, 2, 10, len(PIECES)])
async def test_a_sink_that_fails_is_dropped(after: int) -> None:
    working, failing = Sink(), Sink(fails_after=after)
    failures = await fan_out(Source().stream(), [failing.take, working.take])
    assert [type(each) for each in failures] == [OSError, type(None)]
    assert working.got == PIECES


async def test_the_stream_ends_when_all_sinks_failed() -> None:
    source, sinks = Source(), [Sink(fails_after=2), Sink(fails_after=3)]
    failures = await fan_out(source.stream(), [each.take for each in sinks])
    assert [type(each) for each in failures] == [OSError, OSError]
    assert source.read < 10


async def test_a_sink_that_accepts_no_data_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etcdup.ops.backups.fan_out.SINK_TIMEOUT_S", 0.2)
    working, stuck = Sink(), Sink(stops_after=3)
    failures = await fan_out(Source().stream(), [stuck.take, working.take])
    assert [type(each) for each in failures] == [TimeoutError, type(None)]
    assert working.got == PIECES
    assert stuck.cancelled


async def test_the_source_waits_for_the_slowest_sink() -> None:
    """Therefore only a few pieces are in memory."""
    source, quick, slow = Source(), Sink(), Sink(stops_after=5)
    copying = asyncio.create_task(fan_out(source.stream(), [quick.take, slow.take]))
    for _ in range(200):
        await asyncio.sleep(0)
    assert source.read <= 5 + 4
    slow.released.set()
    assert await copying == [None, None]
    assert slow.got == quick.got == PIECES


async def test_a_source_that_fails_stops_every_sink() -> None:
    sinks = [Sink(), Sink()]
    with pytest.raises(ConnectionError):
        await fan_out(Source(fails_at=20).stream(), [each.take for each in sinks])
    assert all(each.cancelled for each in sinks)


async def test_a_cancellation_stops_every_sink() -> None:
    sinks = [Sink(stops_after=2), Sink(stops_after=2)]
    task = asyncio.create_task(fan_out(Source().stream(), [each.take for each in sinks]))
    for _ in range(50):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(each.cancelled for each in sinks)
