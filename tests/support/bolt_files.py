"""Databases of etcd in memory, made by etcdup's own writer. Real etcd and `bbolt` read such files in tests/local."""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from hypothesis import strategies as st

from etcdup.core.etcd.bbolt import Bolt, open_bolt
from etcdup.core.etcd.bbolt_writer import BoltWriter
from etcdup.core.etcd.rows import revision_key
from etcdup.remote.etcd.pb import kv_pb2

PAGE = 4096
Items = Iterable[tuple[bytes, bytes]]

# Around the borders of a page and of the part that is filled, and the largest value of etcd.
_SIZES = st.one_of(
    st.integers(0, 300), st.integers(3600, 3700), st.integers(4030, 4100), st.integers(8100, 8200),
    st.just(1536 * 1024),
)  # fmt: skip
_BUCKET = st.dictionaries(st.binary(min_size=1, max_size=40), _SIZES, max_size=60)
# The sizes of the values of some buckets, by their keys.
BUCKETS = st.dictionaries(st.binary(min_size=1, max_size=12), _BUCKET, max_size=6).filter(
    lambda buckets: sum(size for items in buckets.values() for size in items.values()) <= 8 << 20
)


def items_of(buckets: Mapping[bytes, Mapping[bytes, int]]) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Return the items of buckets of `BUCKETS`, in order."""
    return {
        name: sorted((key, key[:1] * size) for key, size in items.items()) for name, items in buckets.items()
    }


def database(buckets: Mapping[bytes, Items], page_size: int = PAGE) -> bytes:
    """Return the file with these buckets."""
    writer = BoltWriter(page_size)
    pages = b"".join(
        page for name, items in sorted(buckets.items()) for page in writer.add_bucket(name, 7, items)
    )
    return writer.head() + pages


def opened(content: bytes) -> Bolt:
    return open_bolt(lambda start, stop: memoryview(content[start:stop]))


def page_numbers(content: bytes) -> list[int]:
    """Return each page that is reachable, with the pages that it continues on. Assert that their kinds are right."""
    _, _, page_size, _, root, _, freelist, pages, _ = struct.unpack_from("<IIIIQQQQQ", content, 16)
    assert len(content) == pages * page_size
    found = [0, 1, freelist]

    def visit(number: int) -> None:
        own, kind, count, overflow = struct.unpack_from("<QHHI", content, number * page_size)
        assert own == number
        assert kind in (1, 2)
        found.extend(range(number, number + overflow + 1))
        for index in range(count):
            at = number * page_size + 16 + 16 * index
            if kind == 1:
                assert count >= 2
                visit(struct.unpack_from("<Q", content, at + 8)[0])
            else:
                flags, position, key_size, _ = struct.unpack_from("<IIII", content, at)
                assert key_size > 0
                if flags:
                    visit(struct.unpack_from("<Q", content, at + position + key_size)[0])

    visit(root)
    return sorted(found)


@dataclass
class History:
    """The rows of a cluster, and its keys at each revision."""

    revision: int = 1
    compacted: int = 0
    rows: list[tuple[bytes, bytes]] = field(default_factory=list)
    keys: dict[bytes, kv_pb2.KeyValue] = field(default_factory=dict)
    at: dict[int, dict[bytes, bytes]] = field(default_factory=lambda: {1: {}})
    leases: set[int] = field(default_factory=set)

    def put(self, key: bytes, value: bytes = b"", lease: int = 0) -> int:
        return self.change({key: value}, lease)

    def delete(self, *keys: bytes) -> int:
        return self.change(dict.fromkeys(keys))

    def change(self, changes: Mapping[bytes, bytes | None], lease: int = 0) -> int:
        """Write or delete (None) these keys in one revision, and return it."""
        self.revision += 1
        for number, (key, value) in enumerate(changes.items()):
            revision = revision_key(self.revision, number)
            if value is None:
                self.rows.append((revision + b"t", kv_pb2.KeyValue(key=key).SerializeToString()))
                self.keys.pop(key, None)
                continue
            before = self.keys.get(key)
            self.keys[key] = kv_pb2.KeyValue(
                key=key,
                create_revision=before.create_revision if before else self.revision,
                mod_revision=self.revision,
                version=before.version + 1 if before else 1,
                value=value,
                lease=lease,
            )
            self.rows.append((revision, self.keys[key].SerializeToString()))
        self.at[self.revision] = {key: each.value for key, each in self.keys.items()}
        return self.revision

    def compact(self, revision: int) -> None:
        """Remove the rows that a compaction of etcd removes."""
        self.compacted = revision
        last: dict[bytes, bytes] = {}
        for row, message in self.rows:
            if int.from_bytes(row[:8]) <= revision:
                last[kv_pb2.KeyValue.FromString(message).key] = row
        kept = {row for row in last.values() if not row.endswith(b"t")}
        self.rows = [each for each in self.rows if each[0] in kept or int.from_bytes(each[0][:8]) > revision]

    def buckets(self) -> dict[bytes, Items]:
        names = (b"scheduledCompactRev", b"finishedCompactRev") if self.compacted else ()
        return {
            b"cluster": [(b"clusterVersion", b"3.6.0")],
            b"key": self.rows,
            b"lease": [(lease.to_bytes(8), b"\x08\x01\x10\x3c") for lease in sorted(self.leases)],
            b"members": [],
            b"meta": sorted((name, revision_key(self.compacted)) for name in names),
        }

    def database(self) -> bytes:
        return database(self.buckets())

    def write_snapshot(self, path: Path) -> Path:
        """Write a snapshot file with the checksum of etcd."""
        content = self.database()
        path.write_bytes(content + sha256(content).digest())
        return path
