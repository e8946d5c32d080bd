"""Clients of a kube-apiserver: `python -m tests.clients.apiserver_load HOST CA TOKEN RUN`, until SIGTERM.

A writer creates five ConfigMaps a second. An informer lists and watches them as client-go does. A reader gets the last
one written. Records go to stdout: tests/clients/load.py reads them.
"""

import http.client
import json
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

PORT = 6443
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
WRITE_EVERY_S = 0.2
READ_EVERY_S = 1.0
REQUEST_S = 15.0
WATCH_S = 300
SETTLE_S = 20.0

stopping = threading.Event()
_output = threading.Lock()


def record(kind: str, **fields: Any) -> None:
    with _output:
        print(json.dumps({"kind": kind, "scope": "", **fields}), flush=True)


class ApiError(Exception):
    """A response with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """One connection to the apiserver, opened again after each failure."""

    def __init__(self, host: str, ca: str, token: str, timeout_s: float = REQUEST_S) -> None:
        self._host = host
        self._timeout_s = timeout_s
        self._tls = ssl.create_default_context(cafile=ca)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPSConnection | None = None

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the object of a successful response. Raises ApiError, OSError or HTTPException."""
        with self.open(method, path, body) as response:
            return json.loads(response.read())

    def open(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        try:
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    self._host, PORT, timeout=self._timeout_s, context=self._tls
                )
            text = None if body is None else json.dumps(body)
            self._connection.request(method, path, text, self._headers)
            response = self._connection.getresponse()
            if response.status >= 400:
                raise ApiError(response.status, response.read().decode(errors="replace")[:300])
        except BaseException:
            self.close()
            raise
        return response

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


FAILURES = (ApiError, OSError, http.client.HTTPException, ValueError)


class Writer:
    """Creates `RUN-NUMBER` for each number. A failed number is not tried again, because it may exist."""

    def __init__(self, api: Api, run: str) -> None:
        self._api = api
        self._run = run
        self.acknowledged: list[str] = []

    def loop(self) -> None:
        number = 0
        while not stopping.wait(WRITE_EVERY_S):
            number += 1
            name, begun, error = f"{self._run}-{number}", time.time(), ""
            try:
                self._api.request(
                    "POST", CONFIG_MAPS, {"metadata": {"name": name}, "data": {"n": str(number)}}
                )
                self.acknowledged.append(name)
            except FAILURES as failure:
                error = f"{type(failure).__name__}: {failure}"
            record("write", number=number, begun=begun, ended=time.time(), error=error)


class Informer:
    """The names of the ConfigMaps, from a list and a watch. It lists again only if the apiserver says so."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._revision = ""
        self.names: set[str] = set()

    def loop(self) -> None:
        while True:  # also while the writer stops: its last objects have to arrive
            try:
                if not self._revision:
                    self._list()
                self._watch()
            except FAILURES as failure:
                self._note(failure)
                time.sleep(1)

    def _list(self) -> None:
        answer = self._api.request("GET", CONFIG_MAPS)
        self.names = names_of(answer)
        self._revision = answer["metadata"]["resourceVersion"]
        record("list", revision=self._revision, at=time.time())

    def _watch(self) -> None:
        query = f"watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}&resourceVersion={self._revision}"
        for event in _lines(self._api, f"{CONFIG_MAPS}?{query}"):
            if event["type"] == "ERROR":
                raise ApiError(event["object"].get("code", 0), event["object"].get("message", ""))
            metadata = event["object"]["metadata"]
            self._revision = metadata["resourceVersion"]
            if event["type"] == "DELETED":
                self.names.discard(metadata["name"])
            elif event["type"] != "BOOKMARK":
                self.names.add(metadata["name"])

    def _note(self, failure: BaseException) -> None:
        if isinstance(failure, ApiError) and failure.status == 410:
            self._revision = ""
        record("watch", error=f"{type(failure).__name__}: {failure}", at=time.time())


def _lines(api: Api, path: str) -> Iterator[Any]:
    try:
        with api.open("GET", path) as response:
            while line := response.readline():
                yield json.loads(line)
    finally:
        api.close()


def names_of(answer: Any) -> set[str]:
    return {item["metadata"]["name"] for item in answer["items"]}


def read_loop(api: Api, writer: Writer) -> None:
    while not stopping.wait(READ_EVERY_S):
        if not writer.acknowledged:
            continue
        name = writer.acknowledged[-1]
        try:
            api.request("GET", f"{CONFIG_MAPS}/{name}")
        except FAILURES as failure:
            record("read", error=f"{type(failure).__name__}: {failure}", at=time.time())


def report(api: Api, informer: Informer) -> None:
    """Write what the apiserver and the informer have, once they agree or after some time."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        listed, cached = _list_names(api, CONFIG_MAPS), _list_names(api, f"{CONFIG_MAPS}?resourceVersion=0")
        if listed == cached == informer.names or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    found = {"listed": listed, "cached": cached, "informer": informer.names}
    record("end", **{key: sorted(names) for key, names in found.items()})


def _list_names(api: Api, path: str) -> set[str]:
    try:
        return names_of(api.request("GET", path))
    except FAILURES:
        return set()


def start(target: Callable[..., None], *arguments: Any) -> None:
    threading.Thread(target=target, args=arguments, daemon=True).start()


def main(host: str, ca: str, token: str, run: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())

    def api(timeout_s: float = REQUEST_S) -> Api:
        return Api(host, ca, token, timeout_s)

    writer, informer = Writer(api(), run), Informer(api(WATCH_S + REQUEST_S))
    start(writer.loop)
    start(informer.loop)
    start(read_loop, api(), writer)
    stopping.wait()
    time.sleep(WRITE_EVERY_S)  # the last request of the writer
    report(api(), informer)


if __name__ == "__main__":
    main(*sys.argv[1:])
