"""Copy one stream into several sinks at once. Only a few pieces are in memory.

The slowest sink determines the speed. A sink that fails or accepts no data for SINK_TIMEOUT_S is dropped, and the
others continue.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

Stream = AsyncGenerator[bytes, None]
Sink = Callable[[Stream], Awaitable[None]]

_PIECES = 2
# How long all sinks wait for one: longer than a store retries a request before it fails.
SINK_TIMEOUT_S = 300.0


async def fan_out(source: Stream, sinks: Sequence[Sink]) -> list[Exception | None]:
    """Return the error of each sink, None if it succeeded, TimeoutError if it was dropped.

    Errors of the source are raised.
    """
    if len(sinks) == 1:  # The common case: a sink has no other sink to wait for.
        await sinks[0](source)
        return [None]
    branches = [_Branch(sink) for sink in sinks]
    try:
        await _pour(source, branches)
    finally:
        for branch in branches:
            branch.task.cancel()
        await asyncio.wait([branch.task for branch in branches])
    return [branch.failure for branch in branches]


async def _pour(source: Stream, branches: Sequence["_Branch"]) -> None:
    async for piece in source:
        for branch in branches:
            await branch.put(piece)
        if all(branch.task.done() for branch in branches):
            return
    for branch in branches:
        await branch.put(None)
    await asyncio.wait([branch.task for branch in branches])


class _Branch:
    """A running sink and its queue: pieces, then None at the end."""

    def __init__(self, sink: Sink) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)
        self._late = False
        self.task = asyncio.ensure_future(sink(self._stream()))
        self.task.add_done_callback(lambda _: self._release_waiter())

    async def put(self, piece: bytes | None) -> None:
        """Wait until the queue has space for the piece. Return at once if the sink has ended."""
        if self.task.done():
            return
        try:
            async with asyncio.timeout(SINK_TIMEOUT_S):
                await self._waiting.put(piece)
        except TimeoutError:
            self._late = True
            self.task.cancel()
            await asyncio.wait([self.task])

    @property
    def failure(self) -> Exception | None:
        if self._late:
            return TimeoutError()
        error = self.task.exception()
        if error is not None and not isinstance(error, Exception):
            raise error
        return error

    async def _stream(self) -> Stream:
        while (piece := await self._waiting.get()) is not None:
            yield piece

    def _release_waiter(self) -> None:
        """Empty the queue of a sink that has ended, so that `put` returns."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
