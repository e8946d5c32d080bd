"""One stream into several sinks at once, with a few pieces in memory however long it is.

The slowest sets the pace. One that fails, or takes nothing for long, is left behind, and the others go on.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

Stream = AsyncGenerator[bytes, None]
Sink = Callable[[Stream], Awaitable[None]]

_PIECES = 2
# How long all may wait for one: longer than a store takes to try a request again until it gives up.
SINK_TIMEOUT_S = 300.0


async def fan_out(source: Stream, sinks: Sequence[Sink]) -> list[Exception | None]:
    """What each sink raised, TimeoutError where it was left behind. What the source itself raises is raised."""
    if len(sinks) == 1:  # the common case, and nobody to wait for
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
    """A sink at work, and what waits for it: pieces, then None at the end."""

    def __init__(self, sink: Sink) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)
        self._late = False
        self.task = asyncio.ensure_future(sink(self._stream()))
        self.task.add_done_callback(lambda _: self._release_waiter())

    async def put(self, piece: bytes | None) -> None:
        """Returns at once where the sink has ended already."""
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
        """Whoever waits to put a piece for a sink that has ended goes on."""
        while not self._waiting.empty():
            self._waiting.get_nowait()
