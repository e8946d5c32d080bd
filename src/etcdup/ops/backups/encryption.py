"""Encryption to a public key in age's format, as a stream: a few pieces are in memory, however long it is.

The library works on files and waits for them; it does so in a thread whose two files are ends of streams here.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from etcdup.errors import EtcdupError, RefusedError, UsageError

T = TypeVar("T")
Stream = AsyncGenerator[bytes, None]

_PIECE_BYTES = 1 << 20
_PIECES = 2


class DecryptionFailed(EtcdupError):
    """It was changed or cut since it was sealed, or is not for this key."""


class Identity:
    """Private keys, as `age-keygen` writes them into a file. Nothing shows them."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys = keys

    @property
    def public(self) -> tuple[str, ...]:
        return tuple(str(key.to_public()) for key in self.keys)

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """Raises UsageError, which does not show what is in the file."""
        from pyrage import IdentityError, x25519

        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            texts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            keys = [x25519.Identity.from_str(text) for text in texts]
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
        except (IdentityError, UnicodeDecodeError):
            keys = []
        if not keys:
            hint = "`age-keygen -o FILE` makes one: a line like AGE-SECRET-KEY-1..."
            raise UsageError(f"{path} holds no private key of age", hint=hint)
        return cls(keys)


def encrypt_stream(source: Stream, public: str) -> Stream:
    """What only the key's owner can read."""
    from pyrage import encrypt_io, x25519

    recipient = x25519.Recipient.from_str(public)
    return _run_piped(lambda reader, writer: encrypt_io(reader, writer, [recipient]), source)


async def decrypt_stream(source: Stream, identity: Identity) -> Stream:
    """What was sealed. Raises Unreadable; until the end it is not known to be whole."""
    from pyrage import DecryptError, decrypt_io

    try:
        async for piece in _run_piped(
            lambda reader, writer: decrypt_io(reader, writer, identity.keys), source
        ):
            yield piece
    except DecryptError:
        raise DecryptionFailed("its key does not open it") from None
    except OSError:
        raise DecryptionFailed("it is encrypted, and was changed or cut since") from None


def decrypt_file(path: Path, target: Path, identity: Identity) -> None:
    """Into a file for its owner alone. Raises RefusedError."""
    from pyrage import DecryptError, decrypt_io

    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with path.open("rb") as source, os.fdopen(descriptor, "wb") as plain:
            decrypt_io(source, plain, identity.keys)
    except DecryptError:
        raise RefusedError(f"{path} is not encrypted to {', '.join(identity.public)}") from None
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be decrypted: {error.strerror or 'it was changed or cut'}"
        ) from None


Work = Callable[[Any, Any], object]


async def _run_piped(work: Work, source: Stream) -> Stream:
    """What `work(reader, writer)` writes, of what it reads from `source`. It ends with this, however this ends."""
    ends = _ThreadPipe(source)
    thread = asyncio.create_task(asyncio.to_thread(ends.serve, work))
    try:
        while (piece := await ends.made.get()) is not None:
            yield piece
        await thread
    finally:
        ends.stop()
        await asyncio.wait([thread])
        thread.exception()  # raised above already, or nobody asks any more
        async with ends.pulling:
            await source.aclose()


class _ThreadPipe:
    """Both files of the thread. It waits in them for the loop, so that neither side runs ahead."""

    def __init__(self, source: Stream) -> None:
        self.made: asyncio.Queue[bytes | None] = asyncio.Queue(_PIECES)
        self.pulling = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._failure: Exception | None = None
        self._left = memoryview(b"")
        self._held = bytearray()
        self._waits_for: Future[Any] | None = None
        self._stopped = False

    def serve(self, work: Work) -> None:
        try:
            work(self, self)
            self._pass_on()
        except Exception as error:
            raise self._failure or error from None
        finally:
            with suppress(Exception):
                self._wait(self.made.put(None))

    def read(self, size: int) -> bytes:
        if not self._left:
            self._left = memoryview(self._wait(self._next()))
        piece, self._left = bytes(self._left[:size]), self._left[size:]
        return piece

    def write(self, piece: bytes) -> int:
        self._held += piece
        if len(self._held) >= _PIECE_BYTES:
            self._pass_on()
        return len(piece)

    def flush(self) -> None:
        """Nothing: the last piece goes on when the work is done."""

    def stop(self) -> None:
        self._stopped = True
        if self._waits_for is not None:
            self._waits_for.cancel()

    def _pass_on(self) -> None:
        piece, self._held = bytes(self._held), bytearray()
        if piece:
            self._wait(self.made.put(piece))

    async def _next(self) -> bytes:
        """Empty at the end. What the source raises is kept: the library would make a text of it."""
        async with self.pulling:
            try:
                async for piece in self._source:
                    if piece:
                        return piece
            except Exception as error:
                self._failure = error
                raise
        return b""

    def _wait(self, asked: Coroutine[Any, Any, T]) -> T:
        if self._stopped:
            asked.close()
            raise BrokenPipeError  # not InterruptedError: the library would try again for ever
        self._waits_for = waiting = asyncio.run_coroutine_threadsafe(asked, self._loop)
        if self._stopped:
            waiting.cancel()
        return waiting.result()
