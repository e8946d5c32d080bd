"""Download files over http, https and file: with the standard library. Proxies come from the environment.

The whole transfer has no time limit. Only connecting and the time without data are limited: a slow line is no fault.
"""

import asyncio
import hashlib
import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

from etcdup.core.spec.units import show_transfer
from etcdup.errors import InstallError
from etcdup.ops.install.wanted import Timeouts

T = TypeVar("T")

SCHEMES = ("http", "https", "file")
# The archive of a release has about 25 MiB.
MOST_BYTES = 512 * 1024 * 1024
_CHUNK = 256 * 1024
_REPORT_EVERY_S = 0.25


async def check_exists(url: str, timeouts: Timeouts) -> None:
    """Raise InstallError unless the server has the file. It is not downloaded."""
    await _in_thread(lambda transfer: transfer.check(url), url, timeouts)


async def fetch(url: str, target: Path, timeouts: Timeouts, report: Callable[[str], None]) -> str:
    """Write the file to `target` and return its sha256, computed during the transfer. Raises InstallError."""
    loop = asyncio.get_running_loop()

    def progress(line: str) -> None:
        loop.call_soon_threadsafe(report, line)

    return await _in_thread(lambda transfer: transfer.save(url, target, progress), url, timeouts)


async def _in_thread(work: "Callable[[_Transfer], T]", url: str, timeouts: Timeouts) -> T:
    """Run `work` in a thread. A cancelled call returns after the thread has ended, so it writes nothing later."""
    transfer = _Transfer(timeouts)
    thread = asyncio.ensure_future(
        asyncio.to_thread(_translate_errors, lambda: work(transfer), url, timeouts)
    )
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        transfer.abort()
        with suppress(InstallError, OSError):
            await thread
        raise


def _translate_errors(work: Callable[[], T], url: str, timeouts: Timeouts) -> T:
    """Call `work` and raise each error of a transfer as an InstallError that names the URL."""
    try:
        return work()
    except urllib.error.HTTPError as error:
        error.close()
        raise InstallError(f"{url}: the server answered {error.code} {error.reason}") from None
    except TimeoutError:
        raise InstallError(f"{url}: no data for {timeouts.stall_s:g} s") from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, FileNotFoundError):
            raise InstallError(f"{url} does not exist") from None
        if isinstance(error.reason, TimeoutError):
            raise InstallError(f"{url}: no connection within {timeouts.connect_s:g} s") from None
        raise InstallError(f"{url}: {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise InstallError(f"{url}: {error or type(error).__name__}") from None


class _Transfer:
    """One request, made in its own thread. Another thread calls `abort` to end it, also while it waits for data."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._sockets: list[socket.socket] = []
        self._aborted = threading.Event()
        self._opener = urllib.request.build_opener(_Handler(self._on_connected))
        self._opener.addheaders = [("User-Agent", "etcdup")]

    def abort(self) -> None:
        self._aborted.set()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def check(self, url: str) -> None:
        try:
            self._open(url, "HEAD").close()
        except urllib.error.HTTPError as error:
            if error.code not in (403, 405, 501):
                raise
            error.close()  # Some mirrors and signed URLs accept GET only.
            self._open(url).close()

    def save(self, url: str, target: Path, progress: Callable[[str], None]) -> str:
        digest, got, reported_at = hashlib.sha256(), 0, 0.0
        name = url.rsplit("/", 1)[-1]
        with self._open(url) as response, target.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := self._chunk(response):
                file.write(chunk)
                digest.update(chunk)
                got += len(chunk)
                if got > MOST_BYTES:
                    raise InstallError(f"{url}: it is larger than {MOST_BYTES >> 20} MiB")
                if time.monotonic() - reported_at >= _REPORT_EVERY_S or got == total:
                    reported_at = time.monotonic()
                    progress(f"{name}: {show_transfer(got, total)}")
        if total and got < total:
            raise InstallError(
                f"{url}: the transfer ended early, after {show_transfer(got, total)}",
                hint="run the same command again",
            )
        return digest.hexdigest()

    def _chunk(self, response: IO[bytes]) -> bytes:
        if self._aborted.is_set():
            raise InterruptedError("cancelled")
        return response.read(_CHUNK)

    def _open(self, url: str, method: str = "GET") -> Any:
        if urlsplit(url).scheme not in SCHEMES:
            raise InstallError(
                f"{url} is not a URL that etcdup can download", hint="use http://, https:// or file://"
            )
        request = urllib.request.Request(url, method=method)  # noqa: S310 - the scheme is checked above
        return self._opener.open(request, timeout=self._timeouts.connect_s)

    def _on_connected(self, sock: socket.socket) -> None:
        sock.settimeout(self._timeouts.stall_s)
        self._sockets.append(sock)


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Handlers of urllib that report each connection: urllib has one timeout, and two are needed."""

    def __init__(self, connected: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._connected = connected

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._connection_class(http.client.HTTPConnection), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(self._connection_class(http.client.HTTPSConnection), req)

    def _connection_class(self, kind: type[http.client.HTTPConnection]) -> Any:
        connected = self._connected

        class Reporting(kind):  # type: ignore[valid-type, misc]
            def connect(self) -> None:
                super().connect()
                connected(self.sock)

        return Reporting
