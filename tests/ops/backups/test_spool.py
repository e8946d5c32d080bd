"""A stream is read at the speed of its source, and its order and errors stay the same."""

import asyncio
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from etcdup.ops.backups.spool import MEMORY_PIECES, _Spool, spooled

PIECES = [os.urandom(1000 + number) for number in range(10 * MEMORY_PIECES)]


class Source:
    """A stream of pieces. `taken` is how many were read; `closed` is set when it has ended in any way."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.taken, self.closed = 0, asyncio.Event()
        self._fails_after = fails_after

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in PIECES:
                if self.taken == self._fails_after:
                    raise ConnectionError("the member is gone")
                self.taken += 1
                yield piece
                await asyncio.sleep(0)
        finally:
            self.closed.set()


async def test_a_slow_reader_does_not_slow_down_the_source() -> None:
    source = Source()
    async with aclosing(spooled(source.pieces())) as stream:
        first = await anext(stream)
        await source.closed.wait()
        assert source.taken == len(PIECES)
        assert [first, *[piece async for piece in stream]] == PIECES


async def test_a_reader_that_catches_up_gets_all_pieces_in_order() -> None:
    """The reader alternates between slow and fast, so pieces come from the file and from memory."""
    source, found = Source(), []
    async with aclosing(spooled(source.pieces())) as stream:
        async for piece in stream:
            found.append(piece)
            for _ in range(30 if len(found) % 20 < 5 else 0):
                await asyncio.sleep(0)
    assert found == PIECES


async def test_an_error_of_the_source_is_raised_before_the_pieces_that_are_left() -> None:
    source = Source(fails_after=3 * MEMORY_PIECES)
    async with aclosing(spooled(source.pieces())) as stream:
        await anext(stream)
        await source.closed.wait()
        with pytest.raises(ConnectionError):
            await anext(stream)


async def test_a_reader_that_stops_ends_the_source() -> None:
    source = Source()
    async with aclosing(spooled(source.pieces())) as stream:
        await anext(stream)
    assert source.closed.is_set()


async def test_without_space_for_the_file_the_source_waits(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk of 512 KiB is full before the test starts."""
    (small_disk / "full").write_bytes(bytes(500 * 1024))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    source = Source()
    async with aclosing(spooled(source.pieces())) as stream:
        first = await anext(stream)
        for _ in range(1000):
            await asyncio.sleep(0)
        assert source.taken < len(PIECES)
        assert [first, *[piece async for piece in stream]] == PIECES


async def test_the_file_grows_only_if_the_reader_falls_further_behind() -> None:
    """The reader is always 5 pieces of the file behind, so the file never has more."""
    pieces = [os.urandom(4096) for _ in range(10 * MEMORY_PIECES)]
    late = MEMORY_PIECES + 5
    with tempfile.TemporaryFile(buffering=0) as file:
        spool, found = _Spool(file), []
        for number, piece in enumerate(pieces):
            await spool.put(piece)
            if number >= late - 1:
                found.append(await spool.take())
        assert os.fstat(file.fileno()).st_size <= late * 4096
        assert found == pieces[: len(found)]
