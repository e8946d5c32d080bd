"""A watcher like those of Kubernetes: `python -m tests.lab.watcher PKI RECORDS PREFIX ADDRESS...`, until stdin ends.

It lists the keys below the prefix, and watches from the next revision. After a broken connection it resumes through
the next member, from the revision after its last event. It lists again only if etcd reports that this revision is
compacted. client-go does no more than this, so it does not notice a revision that went back.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import IO, NamedTuple

from etcdup.remote.etcd.grpc_library import grpc, pb, services

PAUSE_S = 0.1
CALL_S = 3.0


class Compacted(Exception):
    """The next revision is compacted, so the watcher has to list again."""


class Seen(NamedTuple):
    """A record: a list with all keys and values, or one event with its key and its value (None: deleted)."""

    kind: str
    revision: int
    keys: dict[str, str | None]


class Watcher:
    """Opens one watch after the other."""

    def __init__(self, channels: Sequence[grpc.Channel], prefix: bytes, records: IO[str]) -> None:
        self._channels = cycle(channels)
        self._prefix = prefix
        self._end = prefix[:-1] + bytes([prefix[-1] + 1])
        self._records = records
        self._revision = 0

    def run(self) -> None:
        for channel in self._channels:
            try:
                if not self._revision:
                    self._list(channel)
                self._watch(channel)
            except Compacted:
                self._revision = 0
            except grpc.RpcError:
                time.sleep(PAUSE_S)

    def _list(self, channel: grpc.Channel) -> None:
        request = pb.RangeRequest(key=self._prefix, range_end=self._end)
        found = services.KVStub(channel).Range(request, timeout=CALL_S)
        keys: dict[str, str | None] = {each.key.decode(): each.value.decode() for each in found.kvs}
        self._record("list", found.header.revision, keys)

    def _watch(self, channel: grpc.Channel) -> None:
        """Watch until the member ends the stream. The channel's pings detect a member that is gone."""
        create = pb.WatchCreateRequest(
            key=self._prefix, range_end=self._end, start_revision=self._revision + 1
        )
        idle = threading.Event()

        def requests() -> Iterator[pb.WatchRequest]:
            yield pb.WatchRequest(create_request=create)
            idle.wait()

        call = services.WatchStub(channel).Watch(requests())
        try:
            for response in call:
                if response.compact_revision:
                    raise Compacted
                if response.canceled:
                    return
                for event in response.events:
                    value = None if event.type == event.DELETE else event.kv.value.decode()
                    self._record("event", event.kv.mod_revision, {event.kv.key.decode(): value})
        finally:
            idle.set()
            call.cancel()

    def _record(self, kind: str, revision: int, keys: dict[str, str | None]) -> None:
        print(json.dumps(Seen(kind, revision, keys)), file=self._records, flush=True)
        self._revision = revision


def read_records(path: Path) -> list[Seen]:
    """Return all complete lines. The watcher may be writing the last one."""
    text = path.read_text()
    return [Seen(*json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()]


def state_of(records: Sequence[Seen]) -> dict[str, str]:
    """Return the keys and values of a controller that has processed these records."""
    state: dict[str, str] = {}
    for each in records:
        if each.kind == "list":
            state = {}
        for key, value in each.keys.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return state


def _channel(pki: Path, address: str) -> grpc.Channel:
    files = (pki / "ca.pem", pki / "clients/admin-key.pem", pki / "clients/admin.pem")
    options = [
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 3000),
        ("grpc.max_reconnect_backoff_ms", 200),
    ]
    credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
    return grpc.secure_channel(f"{address}:2379", credentials, options)


def main(pki: Path, records: Path, prefix: str, addresses: Sequence[str]) -> None:
    channels = [_channel(pki, address) for address in addresses]
    with records.open("a") as file:
        watcher = Watcher(channels, prefix.encode(), file)
        threading.Thread(target=watcher.run, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
