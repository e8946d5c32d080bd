"""Encrypt and decrypt streams with a public key in the format of age. Only a few pieces are in memory.

The library reads and writes files and blocks. It runs in a thread, and its two files are connected to streams.
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
    """The data was changed or truncated after its encryption, or it is encrypted to another key."""


class Identity:
    """Private keys from a file of `age-keygen`. No message and no repr contains them."""

    def __init__(self, keys: list[Any]) -> None:
        self.keys = keys

    @property
    def public(self) -> tuple[str, ...]:
        return tuple(str(key.to_public()) for key in self.keys)

    @classmethod
    def read(cls, path: Path) -> "Identity":
        """Read the private keys in a file. Raises UsageError, which contains nothing of the file."""
        from pyrage import IdentityError, x25519

        try:
            lines = path.read_text(encoding="utf-8").split("\n")
            texts = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            keys = [x25519.Identity.from_str(text) for text in texts]
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from None
        except (IdentityError, UnicodeDecodeError):
            keys = []
        if not keys:
            hint = (
                "pass the file that `age-keygen` wrote when the encryption was set up. It has a line that starts with "
                "AGE-SECRET-KEY-1. A new key decrypts no existing backup"
            )
            raise UsageError(f"{path} contains no private key of age", hint=hint)
        return cls(keys)


def encrypt_stream(source: Stream, public: str) -> Stream:
    """Return the encrypted stream. Only the owner of the private key can decrypt it."""
    from pyrage import encrypt_io, x25519

    recipient = x25519.Recipient.from_str(public)
    return _run_piped(lambda reader, writer: encrypt_io(reader, writer, [recipient]), source)


async def decrypt_stream(source: Stream, identity: Identity) -> Stream:
    """Return the decrypted stream. Raises DecryptionFailed, possibly only at the end of the stream."""
    from pyrage import DecryptError, decrypt_io

    try:
        async for piece in _run_piped(
            lambda reader, writer: decrypt_io(reader, writer, identity.keys), source
        ):
            yield piece
    except DecryptError:
        raise DecryptionFailed("the private key does not decrypt it") from None
    except OSError:
        raise DecryptionFailed("it was changed or truncated after its encryption") from None


def decrypt_file(path: Path, target: Path, identity: Identity) -> None:
    """Decrypt a file into `target`, with mode 0600. Raises RefusedError."""
    from pyrage import DecryptError, decrypt_io

    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with path.open("rb") as source, os.fdopen(descriptor, "wb") as plain:
            decrypt_io(source, plain, identity.keys)
    except DecryptError:
        raise RefusedError(f"{path} is not encrypted to {', '.join(identity.public)}") from None
    except OSError as error:
        raise RefusedError(
            f"cannot decrypt {path}: {error.strerror or 'it was changed or truncated'}"
        ) from None


Work = Callable[[Any, Any], object]


async def _run_piped(work: Work, source: Stream) -> Stream:
    """Run `work(reader, writer)` in a thread that reads from `source`, and return the stream that it writes.

    The thread has ended when this stream ends, also after an error or a cancellation.
    """
    ends = _ThreadPipe(source)
    thread = asyncio.create_task(asyncio.to_thread(ends.serve, work))
    try:
        while (piece := await ends.made.get()) is not None:
            yield piece
        await thread
    finally:
        ends.stop()
        await asyncio.wait([thread])
        thread.exception()  # It was raised above, or the caller does not need it any more.
        async with ends.pulling:
            await source.aclose()


class _ThreadPipe:
    """The two files of the thread. Its reads and writes wait for the event loop, so that the queue stays short."""

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
        """Do nothing: the last piece is passed on when the work is done."""

    def stop(self) -> None:
        self._stopped = True
        if self._waits_for is not None:
            self._waits_for.cancel()

    def _pass_on(self) -> None:
        piece, self._held = bytes(self._held), bytearray()
        if piece:
            self._wait(self.made.put(piece))

    async def _next(self) -> bytes:
        """Return the next piece, or no bytes at the end.

        An error of the source is kept, because the library would convert it to a text.
        """
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
            raise BrokenPipeError  # The library would retry forever after an InterruptedError.
        self._waits_for = waiting = asyncio.run_coroutine_threadsafe(asked, self._loop)
        if self._stopped:
            waiting.cancel()
        return waiting.result()
