"""Read a stream at the speed of its source, although its reader can be slower.

A member keeps one version of its database for the time of a snapshot. Meanwhile it cannot use the pages that it frees,
so its file grows, and a defragmentation blocks the member until the snapshot ends. A slow destination must not make
that time longer. The pieces that it has not taken yet are in memory, and further ones in a temporary file.
"""

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing, suppress
from typing import IO, NamedTuple

Stream = AsyncGenerator[bytes, None]

MEMORY_PIECES = 8


async def spooled(source: Stream) -> Stream:
    """Yield the pieces of the source, which is read independently of the reader. Its error is raised at once."""
    with ExitStack() as stack:
        file = None
        # The file has no name, so nothing remains after a kill. A machine without free space has no such file.
        with suppress(OSError):
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        spool = _Spool(file)
        filling = asyncio.create_task(_fill(spool, source))
        try:
            while (piece := await spool.take()) is not None:
                yield piece
        finally:
            filling.cancel()
            await asyncio.wait([filling])


async def _fill(spool: "_Spool", source: Stream) -> None:
    try:
        async with aclosing(source):
            async for piece in source:
                await spool.put(piece)
    except Exception as error:
        spool.end(error)
    else:
        spool.end(None)


class _Place(NamedTuple):
    """Where a piece is in the file."""

    offset: int
    size: int


class _Spool:
    """A queue of pieces for one writer and one reader: the older ones in memory, the newer ones in the file.

    If there is no file, or it cannot grow, the writer waits for the reader.
    """

    def __init__(self, file: IO[bytes] | None) -> None:
        self._file = file
        self._memory: deque[bytes] = deque()
        self._written: deque[_Place] = deque()
        self._free: list[_Place] = []
        self._end = 0
        self._error: Exception | None = None
        self._has_ended = False
        self._filled, self._taken = asyncio.Event(), asyncio.Event()

    async def put(self, piece: bytes) -> None:
        while not self._try_put(piece):
            self._taken.clear()
            await self._taken.wait()
        self._filled.set()

    async def take(self) -> bytes | None:
        """Return the next piece, or None at the end. Raises the error of the source."""
        while True:
            if self._error is not None:
                raise self._error
            if self._memory or self._written:
                self._taken.set()
                return self._memory.popleft() if self._memory else self._read()
            if self._has_ended:
                return None
            self._filled.clear()
            await self._filled.wait()

    def end(self, error: Exception | None) -> None:
        self._error, self._has_ended = error, True
        self._filled.set()

    def _try_put(self, piece: bytes) -> bool:
        if not self._written and len(self._memory) < MEMORY_PIECES:
            self._memory.append(piece)
            return True
        if self._file is None:
            return False
        place = self._find_place(len(piece))
        written = 0
        try:
            while written < len(piece):
                written += os.pwrite(self._file.fileno(), piece[written:], place.offset + written)
        except OSError:
            self._free.append(place)
            return False
        self._written.append(place)
        return True

    def _find_place(self, size: int) -> _Place:
        """Return the place of a piece that was read, or a new one at the end of the file.

        The page cache already has the pages of a used place. New pages take more CPU time than the copy into them.
        """
        if self._free and self._free[-1].size == size:
            return self._free.pop()
        self._end += size
        return _Place(self._end - size, size)

    def _read(self) -> bytes:
        assert self._file is not None, "the piece is in it"
        place = self._written.popleft()
        self._free.append(place)
        return os.pread(self._file.fileno(), place.size, place.offset)
