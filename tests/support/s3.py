"""A real S3 store: SeaweedFS on loopback, and a proxy in front of it that has the faults of stores."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

from tests.support.cache import cache_dir, file_lock

WEED = Path(sys.executable).parent / "weed"
BUCKET = "backups"
ACCESS, SECRET = "operator", "not-so-secret"
START_S = 60.0

Fault = Literal[
    "", "refuses", "fills up", "slow", "stalls", "stalls listing", "stalls reading", "stalls midway", "cuts",
    "breaks off", "flips", "lies",
]  # fmt: skip
# The domain of the store if a bucket is a host name. No resolver has it: requests for it go to the proxy.
DOMAIN = "s3.test"


@dataclass(frozen=True)
class Seaweed:
    """An S3 store with a bucket, and its filer, which lists the bucket without a signature."""

    url: str
    filer: str

    def unfinished_uploads(self) -> list[str]:
        """Return the uploads that are not finished. The store keeps their parts until they are aborted."""
        with closing(http.client.HTTPConnection(self.filer, timeout=10)) as connection:
            headers = {"Accept": "application/json"}
            connection.request("GET", f"/buckets/{BUCKET}/.uploads/?limit=1000", headers=headers)
            with connection.getresponse() as answer:
                if answer.status == http.HTTPStatus.NOT_FOUND:
                    return []
                listed = json.loads(answer.read())
        return [each["FullPath"] for each in listed["Entries"] or []]


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run SeaweedFS with an empty bucket. Only one can run: it always uses the ports 8181 and 9101 also."""
    with file_lock(cache_dir() / "seaweed.lock"):
        yield from _run_seaweed(folder)


def _run_seaweed(folder: Path) -> Iterator[Seaweed]:
    ports = _free_ports(8)
    identity = {
        "name": "operator",
        "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = (
        "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
        "s3.port", "s3.port.grpc",
    )  # fmt: skip
    argv = [
        *(("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()),
        str(WEED), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        f"-s3.config={folder / 's3.json'}", f"-s3.domainName={DOMAIN}",
        "-volume.max=100", "-master.volumeSizeLimitMB=256",
        *(f"-{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        env = os.environ | {"WEED_S3_SSE_KEY": SECRET}  # Without a key it does not encrypt.
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, env=env
        )
    try:
        _wait(f"127.0.0.1:{ports[6]}", process, folder / "log")
        _make_bucket(ports)
        yield Seaweed(f"http://127.0.0.1:{ports[6]}", f"127.0.0.1:{ports[4]}")
    finally:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait(place: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until SeaweedFS refuses a request without credentials: then it has loaded its identities."""
    ends = time.monotonic() + START_S
    while _request_status(place, "GET", "/") != http.HTTPStatus.FORBIDDEN:
        if time.monotonic() > ends or process.poll() is not None:
            raise RuntimeError(f"SeaweedFS does not answer:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)


def _request_status(place: str, method: str, path: str) -> int:
    """Return the HTTP status, or 0 if the connection fails."""
    with closing(http.client.HTTPConnection(place, timeout=10)) as connection:
        try:
            connection.request(method, path)
            with connection.getresponse() as answer:
                answer.read()
                return answer.status
        except OSError:
            return 0


def _make_bucket(ports: list[int]) -> None:
    """Create the bucket: it is a folder of the filer, which needs no signature."""
    assert 200 <= _request_status(f"127.0.0.1:{ports[4]}", "POST", f"/buckets/{BUCKET}/") < 300


@dataclass
class Proxy:
    """A proxy with faults. A test may change `fault` at any time. `uploaded` counts the bytes of objects."""

    upstream: str
    fault: Fault = ""
    capacity: int = 0
    uploaded: int = 0
    url: str = ""
    aborted: int = 0
    stalled: int = 0
    broken_off: int = 0
    hashes: set[str] = field(default_factory=set)
    """The payload hashes in the signatures of uploaded objects."""
    encryption: set[str] = field(default_factory=set)
    """The encryption that requests of objects and uploads ask for."""
    encrypted: set[str] = field(default_factory=set)
    """The encryption that the store reports for the objects that it returned."""
    asked_for: set[str] = field(default_factory=set)
    """The host names of the requests."""
    released: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    """With `slow`: a part has arrived, and its response is delayed."""


@contextmanager
def faulty_proxy(upstream: str) -> Iterator[Proxy]:
    proxy = Proxy(upstream.removeprefix("http://"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_FaultyHandler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _FaultyHandler(BaseHTTPRequestHandler):
    """Forwards requests to the store. Each fault changes one step: the request, the content, or the response."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def _handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = self.headers["Host"]
        self.proxy.asked_for.add(host)
        # A client with http_proxy sends the whole URL.
        self.path = self.path.removeprefix(f"http://{host}")
        self.proxy.aborted += self.command == "DELETE" and "uploadId" in self.path
        self._record_encryption()
        if self._is_listing and self.proxy.fault == "stalls listing":
            self._stall()
        if self._is_upload:
            return self._handle_upload(body)
        return self._forward(body)

    @property
    def _is_database(self) -> bool:
        return ".db" in self.path

    @property
    def _is_upload(self) -> bool:
        return self.command in ("PUT", "POST") and self._is_database

    @property
    def _is_listing(self) -> bool:
        return "list-type" in self.path

    def _record_encryption(self) -> None:
        """Record which encryption the start of an upload asks for."""
        if self.path.endswith("?uploads") or (self.command == "PUT" and "uploadId" not in self.path):
            self.proxy.encryption.add(self.headers["x-amz-server-side-encryption"] or "none")

    def _handle_upload(self, body: bytes) -> None:
        if self.proxy.fault == "refuses":
            return self._respond(500, b"<Error><Code>InternalError</Code></Error>")
        self.proxy.uploaded += len(body)
        self.proxy.hashes.add(self.headers["x-amz-content-sha256"])
        if self.proxy.fault == "fills up" and self.proxy.uploaded > self.proxy.capacity:
            return self._respond(507, b"<Error><Code>InsufficientStorage</Code></Error>")
        if self.proxy.fault == "stalls":
            self.proxy.stalled += 1
            self._stall()
        return self._forward(body)

    def _stall(self) -> None:
        self.proxy.released.wait(60)

    def _forward(self, body: bytes) -> None:
        with closing(http.client.HTTPConnection(self.proxy.upstream, timeout=60)) as connection:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for key, value in self.headers.items():
                connection.putheader(key, value)
            connection.endheaders(body)
            with connection.getresponse() as answer:
                content = answer.read()
        if self.command == "PUT" and self._is_database and self.proxy.fault == "slow":
            self.proxy.holding.set()
            self.proxy.released.wait(1)
        if self.command == "GET":
            content = self._listing(content) if self._is_listing else self._object(content)
        if self.command == "GET" and not self._is_listing:
            self.proxy.encrypted.add(answer.getheader("x-amz-server-side-encryption", "none"))
        headers = {
            k: v for k, v in answer.getheaders() if k.lower() not in ("content-length", "date", "server")
        }
        self._respond(answer.status, content, headers, answer.getheader("Content-Length"))

    def _listing(self, content: bytes) -> bytes:
        """Return the listing. With `lies`, all sizes in it are wrong."""
        if self.proxy.fault == "lies":
            return re.sub(rb"<Size>\d+</Size>", b"<Size>1</Size>", content)
        return content

    def _object(self, content: bytes) -> bytes:
        """Return the content of an object. A fault of reading changes that of a database."""
        if not self._is_database:
            return content
        if self.proxy.fault == "stalls reading":
            self._stall()
        if self.proxy.fault == "cuts":
            return content[: len(content) // 2]
        if self.proxy.fault == "flips":
            return content[:100] + bytes([content[100] ^ 1]) + content[101:]
        return content

    def _respond(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, size: str | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        length = size if self.command == "HEAD" and size else str(len(content))
        is_wrong = self.proxy.fault == "lies" and self.command == "HEAD"
        self.send_header("Content-Length", "1" if is_wrong else length)
        self.end_headers()
        if (
            self.command == "GET"
            and self._is_database
            and self.proxy.fault in ("breaks off", "stalls midway")
        ):
            self._send_half(content)
        elif self.command != "HEAD":
            self.wfile.write(content)

    def _send_half(self, content: bytes) -> None:
        """Send fewer bytes than Content-Length. Then close the connection, or send no more data."""
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        self.proxy.broken_off += 1
        if self.proxy.fault == "stalls midway":
            self._stall()
        self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle_any

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        with suppress(OSError):  # The client closed the connection.
            super().handle()
