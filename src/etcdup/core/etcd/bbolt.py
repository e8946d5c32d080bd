"""Read buckets of etcd's database file (bbolt), and what etcd itself stores in them. Read-only.

All functions raise ValueError if the file is not a bbolt database. The layout of pages, elements and buckets is in
https://github.com/etcd-io/bbolt/tree/main/internal/common (page.go, bucket.go, meta.go).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MAGIC = 0xED0CDAED
_BRANCH, _LEAF = 0x01, 0x02  # flags of a page
_BUCKET = 0x01  # flag of a leaf element
_HEADER = struct.Struct("<QHHI")
_META_BODY = struct.Struct("<IIIIQQQQQ")
_LEAF_ELEMENT = struct.Struct("<IIII")
_BRANCH_ELEMENT = struct.Struct("<IIQ")
# A damaged file could have a cycle of branch pages.
_MAX_DEPTH = 64
_REVISION = struct.Struct(">q")
# If compaction removed the record with the newest revision (of a deletion), etcd continues from these revisions.
_COMPACTED = (b"scheduledCompactRev", b"finishedCompactRev")

# Returns the bytes of the file from one offset to another, or fewer at the end of the file.
Read = Callable[[int, int], memoryview]


@dataclass(frozen=True)
class Bolt:
    """A bbolt database. Pages are read only when they are needed."""

    read: Read
    page_size: int
    root: int

    def value(self, bucket: bytes, key: bytes) -> bytes | None:
        """Return the value of a key in a bucket, or None if the bucket or the key does not exist."""
        return next((value for name, value in self.items(bucket) if name == key), None)

    def items(self, bucket: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys and values of a bucket in order of the keys. Yield nothing if the bucket does not exist."""
        page = self._find(bucket)
        if page is not None:
            for key, value, _ in self._leaves(page):
                yield key, value

    def last_key(self, bucket: bytes) -> bytes | None:
        """Return the greatest key of a bucket, or None if it has none."""
        page = self._find(bucket)
        return self._last(page) if page is not None else None

    def _find(self, name: bytes) -> memoryview | None:
        for key, value, flags in self._leaves(self._page(self.root)):
            if flags & _BUCKET and key == name:
                (root,) = struct.unpack_from("<Q", value)
                # A small bucket has no page of its own: it is inline, after the 16 bytes of the bucket header.
                return self._page(root) if root else memoryview(value)[16:]
        return None

    def _page(self, number: int) -> memoryview:
        start = number * self.page_size
        page = self.read(start, start + self.page_size)
        if len(page) < _HEADER.size:
            raise ValueError(f"page {number} is beyond the end of the file")
        _, _, _, overflow = _HEADER.unpack_from(page)
        return self.read(start, start + (overflow + 1) * self.page_size) if overflow else page

    def _leaves(self, page: memoryview, depth: int = 0) -> Iterator[tuple[bytes, bytes, int]]:
        _, kind, count, _ = _HEADER.unpack_from(page)
        if kind & _BRANCH and depth < _MAX_DEPTH:
            for index in range(count):
                yield from self._leaves(self._child(page, index), depth + 1)
        elif kind & _LEAF:
            for index in range(count):
                yield self._leaf(page, index)
        else:
            raise ValueError("a page is neither a branch nor a leaf")

    def _last(self, page: memoryview, depth: int = 0) -> bytes | None:
        _, kind, count, _ = _HEADER.unpack_from(page)
        if kind & _BRANCH and count and depth < _MAX_DEPTH:
            return self._last(self._child(page, count - 1), depth + 1)
        return self._leaf(page, count - 1)[0] if kind & _LEAF and count else None

    def _child(self, page: memoryview, index: int) -> memoryview:
        _, _, number = _BRANCH_ELEMENT.unpack_from(page, _HEADER.size + index * _BRANCH_ELEMENT.size)
        return self._page(number)

    def _leaf(self, page: memoryview, index: int) -> tuple[bytes, bytes, int]:
        at = _HEADER.size + index * _LEAF_ELEMENT.size
        flags, position, key_size, value_size = _LEAF_ELEMENT.unpack_from(page, at)
        key = at + position
        return (
            bytes(page[key : key + key_size]),
            bytes(page[key + key_size : key + key_size + value_size]),
            flags,
        )


def open_bolt(read: Read) -> Bolt:
    """Return the database as of the newer of its two meta pages."""
    try:
        metas = [meta for start in _meta_starts(read) if (meta := _meta(read, start))]
    except struct.error as error:
        raise ValueError("the file is too short") from error
    if not metas:
        raise ValueError("the file is not an etcd database")
    _, page_size, root = max(metas)
    return Bolt(read, page_size, root)


def newest_revision(bolt: Bolt) -> int:
    """Return the newest revision in etcd's database. An empty database is at revision 1.

    The keys of the bucket `key` are revisions, in order.
    """
    found = [bolt.last_key(b"key"), *(bolt.value(b"meta", name) for name in _COMPACTED)]
    return max((_REVISION.unpack_from(each)[0] for each in found if each), default=1)


def cluster_version(bolt: Bolt) -> str:
    """Return the cluster version that the members agreed on, for example `3.6.0`. Empty if they had not agreed yet."""
    return (bolt.value(b"cluster", b"clusterVersion") or b"").decode("ascii", "replace")


def _meta_starts(read: Read) -> tuple[int, int]:
    page_size = _META_BODY.unpack(_meta_body(read, 0))[2]
    return (0, page_size)


def _meta_body(read: Read, start: int) -> memoryview:
    return read(start + _HEADER.size, start + _HEADER.size + _META_BODY.size)


def _meta(read: Read, start: int) -> tuple[int, int, int] | None:
    magic, _, page_size, _, root, _, _, _, transaction = _META_BODY.unpack(_meta_body(read, start))
    return (transaction, page_size, root) if magic == MAGIC and page_size else None
