"""A mirror of etcd releases on a loopback address: a folder over HTTP, with faults that a test can enable."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_STALL_LIMIT_S = 30.0


@dataclass
class Mirror:
    """`url` is for `install.mirror`. A fault affects paths with the given ending, until the test removes it."""

    root: Path
    url: str
    requests: list[str] = field(default_factory=list)
    fail: dict[str, int] = field(default_factory=dict)
    """Respond with this status."""
    stall: dict[str, int] = field(default_factory=dict)
    """Send this many bytes, then send no data and keep the connection open."""
    truncate: dict[str, int] = field(default_factory=dict)
    """Send this many bytes, then close the connection. Content-Length is larger."""
    lie: set[str] = field(default_factory=set)
    """Send the right number of bytes, with one byte changed."""
    no_head: bool = False
    redirect: str = ""
    """Redirect each request to the same path of this URL."""
    chunk_delay_s: float = 0.0
    closing: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


@contextmanager
def serve(root: Path, address: str = "127.0.0.1") -> Iterator[Mirror]:
    mirror = Mirror(root, "")
    server = ThreadingHTTPServer((address, 0), type("Handler", (_Handler,), {"mirror": mirror}))
    server.daemon_threads = False
    mirror.url = f"http://{address}:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield mirror
    finally:
        mirror.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    mirror: Mirror

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        self.mirror.requests.append(f"{method} {path}")
        file = self.mirror.root / path.lstrip("/")
        if self.mirror.redirect:
            self.send_response(302)
            self.send_header("Location", self.mirror.redirect + path)
            self.end_headers()
            return
        if status := self._status(method, path, file):
            self.send_error(status)
            return
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if method == "GET":
            self._send(path, content)

    def _status(self, method: str, path: str, file: Path) -> int | None:
        if method == "HEAD" and self.mirror.no_head:
            return 405
        status = _of(self.mirror.fail, path)
        return status if status is not None else (None if file.is_file() else 404)

    def _send(self, path: str, content: bytes) -> None:
        if any(path.endswith(name) for name in self.mirror.lie):
            content = content[:-1] + bytes([content[-1] ^ 1])
        stalls_after, ends_after = _of(self.mirror.stall, path), _of(self.mirror.truncate, path)
        until = min(limit for limit in (stalls_after, ends_after, len(content)) if limit is not None)
        try:
            self._send_slowly(content[:until])
        except OSError:
            return  # The client closed the connection.
        if stalls_after is not None:
            self.mirror.closing.wait(_STALL_LIMIT_S)
        self.close_connection = True

    def _send_slowly(self, content: bytes) -> None:
        size = 64 * 1024
        for start in range(0, len(content), size):
            self.wfile.write(content[start : start + size])
            self.wfile.flush()
            time.sleep(self.mirror.chunk_delay_s)

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing: `requests` contains all requests."""


def _of(faults: dict[str, int], path: str) -> int | None:
    return next((value for name, value in faults.items() if path.endswith(name)), None)
