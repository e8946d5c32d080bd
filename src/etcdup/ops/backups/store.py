"""A store for backups: a folder on this machine or an S3 bucket, with one interface.

Messages of the library are long and may contain URLs. They are replaced by messages of etcdup.
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

# The size of the parts of an upload: the limit of ten thousand parts allows 48 GiB. At most two parts are in transit.
_PART_BYTES = 5 << 20
_PARTS_AT_ONCE = 2
_READ_BYTES = 1 << 20
# A manifest has less than 2 KiB.
TEXT_LIMIT = 64 * 1024
# The longest time without data from a store, and how long a request is retried.
STALL_S = 30.0
RETRY_S = 20.0
# How long a cancelled upload waits until the store has deleted its parts.
_ABORT_TIMEOUT_S = 5.0


class StoreError(EtcdupError):
    """A request to the store failed."""


class ObjectNotFound(StoreError):
    """The store has no such object."""


class Store:
    """Objects by name. `destination` is the name that cluster.yaml has for the store.

    `left_parts`: an upload was cancelled and the store did not respond in time, so that it may still have parts of it.
    """

    def __init__(
        self, objects: "ObjectStore", destination: str, prefix: str, folder: Path | None = None
    ) -> None:
        self._objects = objects
        self._prefix = f"{prefix}/" if prefix else ""
        self._folder = folder
        self.destination = destination
        self.left_parts = False

    async def list_names(self) -> tuple[str, ...]:
        """Return the names of all objects directly below the prefix."""
        import obstore

        found = []
        with self._explained("list"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                async for part in obstore.list(self._objects, prefix=self._prefix or None):
                    found += [each["path"].removeprefix(self._prefix) for each in part]
        return tuple(name for name in found if "/" not in name)

    async def put(self, name: str, content: AsyncIterator[bytes]) -> None:
        """Write a stream with bounded memory. The object appears complete or not at all.

        The parts of an upload that fails are deleted.
        """
        import obstore

        source = _AbortableStream(content)
        with self._explained("write to"), _owner_only:
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

    async def put_text(self, name: str, text: bytes) -> None:
        import obstore

        with self._explained("write to"), _owner_only:
            async with asyncio.timeout(STALL_S + RETRY_S):
                await obstore.put_async(self._objects, self._prefix + name, text, use_multipart=False)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder, name)

    async def read(self, name: str) -> AsyncGenerator[bytes, None]:
        """Return the object in pieces. STALL_S without data is an error."""
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
                # The next piece loads while the caller uses this one.
                coming = asyncio.ensure_future(anext(pieces, None))
                yield bytes(piece)
        finally:
            coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # It was raised above, or the caller does not need it any more.

    async def read_text(self, name: str) -> bytes:
        """Return a small object. Raise StoreError if it is larger than TEXT_LIMIT: the store may have anything."""
        text = b""
        async with aclosing(self.read(name)) as pieces:
            async for piece in pieces:
                text += piece
                if len(text) > TEXT_LIMIT:
                    raise StoreError(f"{name} in {self.destination} is larger than {TEXT_LIMIT >> 10} KiB")
        return text

    async def read_parts(self, name: str, look: Callable[[Read], T]) -> T:
        """Call `look` with a function that reads any range of the object, and return its result."""
        import obstore

        def read(start: int, end: int) -> memoryview:
            return memoryview(obstore.get_range(self._objects, self._prefix + name, start=start, end=end))

        with self._explained("read"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                return await asyncio.to_thread(look, read)

    async def delete(self, name: str) -> None:
        import obstore

        with self._explained("delete from"):
            async with asyncio.timeout(STALL_S + RETRY_S):
                await obstore.delete_async(self._objects, self._prefix + name)

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Raise errors of the library as StoreError. Errors of the source of the content pass unchanged."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            yield
        except FileNotFoundError:
            raise ObjectNotFound(
                f"{self.destination} has no such object, or the bucket does not exist"
            ) from None
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            raise self._denied(what) from None
        except TimeoutError:
            raise StoreError(f"{self.destination} sent no data for {STALL_S:g} s", hint=_HINT) from None
        except (BaseError, OSError) as error:
            why = _why(error)
            if why.startswith(("401", "403")):
                raise self._denied(what) from None
            raise StoreError(f"cannot {what} {self.destination}: {why}", hint=_HINT) from None

    def _denied(self, what: str) -> StoreError:
        return StoreError(
            f"cannot {what} {self.destination}: permission denied",
            hint="check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the owner of the folder",
        )


async def _pieces_of(path: Path) -> AsyncGenerator[bytes, None]:
    """Read a file in large pieces. The library would read many small ones, which takes longer than writing it."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _READ_BYTES):
            yield piece


class _UploadAborted(Exception):
    """The upload is cancelled."""


class _AbortableStream:
    """A stream that can be aborted while the library waits for its next piece.

    The library deletes the parts of an upload whose source fails. It does not delete those of a cancelled upload: they
    would stay in the bucket, and no command of etcdup lists them.
    """

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
    """Abort the upload and return whether the library ended in time.

    A store that does not respond is not waited for longer: it would not delete the parts either.
    """
    source.abort()
    await asyncio.wait([writing], timeout=_ABORT_TIMEOUT_S)
    if writing.cancel():
        return False
    writing.exception()  # The caller does not need it any more.
    return True


_HINT = "fix the store, then run the command again; an incomplete backup is never listed"


class _OwnerOnlyUmask:
    """Set the umask to 0077 while backups are written, because they contain all secrets (rule 53).

    The process has one umask, and several backups may be written at once. The last one restores the umask.
    """

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
    """Return the HTTP status, or the first line of the message of the library."""
    text = str(error).strip()
    status = _STATUS.search(text)
    return status[1] if status else text.partition("\n")[0][:200] or type(error).__name__
