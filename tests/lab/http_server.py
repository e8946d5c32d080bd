"""An HTTP server of a folder at the operator's address: a mirror of releases, or a repository of packages."""

from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from threading import Thread
from types import TracebackType
from typing import Self

from tests.lab.network import Namespace


class HttpServer:
    """Serves until it is stopped. `requests` has the paths of all requests so far."""

    def __init__(self, namespace: Namespace, address: str, folder: Path, port: int = 0) -> None:
        self.requests: list[str] = []
        handler = partial(_Handler, directory=str(folder), seen=self.requests.append)
        with namespace.inside():
            self._server = _Server((address, port), handler)
        self.url = f"http://{address}:{self._server.server_address[1]}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server. After that, connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *arguments: object, directory: str, seen: Callable[[str], None]) -> None:
        self._seen = seen
        super().__init__(*arguments, directory=directory)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        self._seen(self.path)
