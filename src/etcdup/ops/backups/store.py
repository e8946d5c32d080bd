"""A place for backups: a folder of this machine or a bucket with S3's API, by one door.

Errors of the library are long and may hold URLs: they are told in our own words.
"""

import asyncio
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from etcdup.core.etcd.bbolt import Read
from etcdup.errors import EtcdupError
from etcdup.ops.files import sync_file, sync_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

# Parts of an upload: ten thousand of them are a database of 48 GiB. At most two wait for the store.
_PART_BYTES = 5 << 20
_PARTS_AT_ONCE = 2
_READ_BYTES = 1 << 20
# The longest silence of a store, and how long a request is tried again.
STALL_S = 30.0
RETRY_S = 20.0
# How long one who interrupts an upload waits for its parts to be taken back.
_ABORT_TIMEOUT_S = 5.0


class StoreError(EtcdupError):
    """The store did not do what was asked."""


class ObjectNotFound(StoreError):
    """The store has no such object."""


class Store:
    """Objects by name. `place` is how an operator calls it. `left_parts`: an upload was interrupted, and the store gave
    no answer in time, so that parts of it may still be there."""

    def __init__(self, objects: "ObjectStore", place: str, prefix: str, folder: Path | None = None) -> None:
        self._objects = objects
        self._prefix = f"{prefix}/" if prefix else ""
        self._folder = folder
        self.destination = place
        self.left_parts = False

    async def list_names(self) -> tuple[str, ...]:
        """Of everything that lies directly in the place."""
        import obstore

        found = []
        with self._explained("listed"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                async for part in obstore.list(self._objects, prefix=self._prefix or None):
                    found += [each["path"].removeprefix(self._prefix) for each in part]
        return tuple(name for name in found if "/" not in name)

    async def put(self, name: str, content: AsyncIterator[bytes]) -> None:
        """A stream, with bounded memory. An object appears whole or not at all; parts of it are taken back."""
        import obstore

        source = _AbortableStream(content)
        with self._explained("written"), _owner_only:
            writing = asyncio.ensure_future(
                obstore.put_async(
                    self._objects, self._prefix + name, source,
                    use_multipart=True, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE,
                )
            )  # fmt: skip
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                self.left_parts = not await _abort_upload(writing, source)
                raise
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, name)

    async def put_text(self, name: str, text: str) -> None:
        import obstore

        with self._explained("written"), _owner_only:
            async with asyncio.timeout(STALL_S + RETRY_S):
                await obstore.put_async(
                    self._objects, self._prefix + name, text.encode(), use_multipart=False
                )
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, name)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """The object in pieces. A silence of STALL_S is an error."""
        pieces = self._pieces(name) if self._folder is None else _pieces_of(self._folder / name)
        within_s = STALL_S + RETRY_S
        with self._explained("read"):
            async with aclosing(pieces):
                while True:
                    async with asyncio.timeout(within_s):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    yield piece
                    within_s = STALL_S

    async def _pieces(self, name: str) -> AsyncGenerator[bytes, None]:
        import obstore

        found = await obstore.get_async(self._objects, self._prefix + name)
        pieces = found.stream(min_chunk_size=_READ_BYTES)
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            while (piece := await coming) is not None:
                coming = asyncio.ensure_future(anext(pieces, None))  # while this one is looked at
                yield bytes(piece)
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # raised above already, or nobody asks any more

    async def read_text(self, name: str) -> bytes:
        return b"".join([piece async for piece in self.read(name)])

    async def read_parts(self, name: str, look: Callable[[Read], T]) -> T:
        """`look` reads parts of an object, wherever it likes."""
        import obstore

        def read(start: int, end: int) -> memoryview:
            return memoryview(obstore.get_range(self._objects, self._prefix + name, start=start, end=end))

        with self._explained("read"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                return await asyncio.to_thread(look, read)

    async def delete(self, name: str) -> None:
        import obstore

        with self._explained("changed"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                await obstore.delete_async(self._objects, self._prefix + name)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Every way in which a store fails. What the content's own source raises goes through as it is."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError:
            raise ObjectNotFound(
                f"{self.destination} has no such object, or there is no such bucket"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            raise self._denied(what) from None
        except TimeoutError:
            raise StoreError(f"{self.destination} stood still for {STALL_S:g} s", hint=_HINT) from None
        except (BaseError, OSError) as error:
            why = _why(error)
            if why.startswith(("401", "403")):
                raise self._denied(what) from None
            raise StoreError(f"{self.destination} cannot be {what}: {why}", hint=_HINT) from None

    def _denied(self, what: str) -> StoreError:
        return StoreError(
            f"{self.destination} cannot be {what}: permission denied",
            hint="look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or at the folder's owner",
        )


async def _pieces_of(path: Path) -> AsyncGenerator[bytes, None]:
    """A file, a piece at a time: the library would read it in many small ones, which takes longer than to write it."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece


class _UploadAborted(Exception):
    """Nobody wants the rest any more."""


class _AbortableStream:
    """A stream that can be broken off while somebody waits for its next piece: the library takes back the parts of
    an upload whose source fails, and leaves those of one that is cancelled in the bucket, where nobody lists them."""

    def __init__(self, content: AsyncIterator[bytes]) -> None:
        self._content = content
        self._pulling: asyncio.Task[Any] | None = None
        self._broken = False

    def __aiter__(self) -> "_AbortableStream":
        return self

    async def __anext__(self) -> bytes:
        if self._broken:
            raise _UploadAborted
        self._pulling = asyncio.current_task()
        try:
            return await anext(self._content)
        except asyncio.CancelledError:
            raise _UploadAborted from None
        finally:
            self._pulling = None

    def abort(self) -> None:
        self._broken = True
        if self._pulling is not None:
            self._pulling.cancel()


async def _abort_upload(writing: asyncio.Future[Any], source: _AbortableStream) -> bool:
    """Whether the library came to its end. A store that stands still is not waited for: it would not take anything
    back either."""
    source.abort()
    await asyncio.wait([writing], timeout=_ABORT_TIMEOUT_S)
    if writing.cancel():
        return False
    writing.exception()  # nobody asks any more
    return True


_HINT = "nothing that is not whole is ever listed; put the store right and run it again"


class _OwnerOnlyUmask:
    """A backup in a folder holds every secret (rule 53). Several may be written at once, and the process has but one
    umask: the last one done puts it back."""

    def __init__(self) -> None:
        self._writers = 0
        self._before = 0

    def __enter__(self) -> None:
        if self._writers == 0:
            self._before = os.umask(0o077)
        self._writers += 1

    def __exit__(self, *_: object) -> None:
        self._writers -= 1
        if self._writers == 0:
            os.umask(self._before)


_owner_only = _OwnerOnlyUmask()


def _sync(folder: Path, name: str) -> None:
    """Return once the file and its name are on the disk."""
    sync_file(folder / name)
    sync_folder(folder)


_STATUS = re.compile(r"status code: (\d{3} [A-Z][\w ]*)")


def _why(error: Exception) -> str:
    """The HTTP status, else the first line of what the library says."""
    said = str(error).strip()
    status = _STATUS.search(said)
    return status[1] if status else said.partition("\n")[0][:200] or type(error).__name__
