"""Read buckets of etcd's database file (bbolt), and what etcd itself stores in them. Read-only.

All functions raise ValueError if the file is not a bbolt database. The layout of pages, elements and buckets is in
https://github.com/etcd-io/bbolt/tree/main/internal/common (page.go, bucket.go, meta.go).

The file can be hostile. The keys of a bucket must ascend over all of its pages, only the root of a bucket can be empty,
and elements do not overlap. So each leaf is read at most once, and the work is limited by the size of the file.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import lt

MAGIC = 0xED0CDAED
BRANCH, LEAF = 0x01, 0x02  # flags of a page
BUCKET_ELEMENT = 0x01  # flag of a leaf element
HEADER = struct.Struct("<QHHI")
META_BODY = struct.Struct("<IIIIQQQQQ")
LEAF_ELEMENT = struct.Struct("<IIII")
BRANCH_ELEMENT = struct.Struct("<IIQ")
BUCKET_HEADER = struct.Struct("<QQ")  # the page of its root and its sequence number
ELEMENT_BYTES = LEAF_ELEMENT.size  # a branch element has the same size
# A damaged file could have a cycle of branch pages.
_MAX_DEPTH = 64
# The largest page that is read. A page contains at most a few values, and etcd limits a request to 1.5 MiB by default.
MAX_PAGE_BYTES = 64 << 20
# The page size is that of the machine that made the file: 4 KiB to 64 KiB.
_MIN_PAGE_SIZE, _MAX_PAGE_SIZE = 512, 64 << 10
# etcd has about a dozen buckets.
_MAX_BUCKETS = 64
_REVISION = struct.Struct(">q")
# If compaction removed the record with the newest revision (of a deletion), etcd continues from these revisions.
_COMPACTED = (b"scheduledCompactRev", b"finishedCompactRev")

# Returns the bytes of the file from one offset to another, or fewer at the end of the file.
Read = Callable[[int, int], memoryview]
# The flags of an element, and where its key, its value and its end are in the page.
Span = tuple[int, int, int, int]
# A leaf page and its elements, in order of the keys.
Leaf = tuple[bytes, list[Span]]


class Usage:
    """How many bytes of pages were read: an iteration over all buckets reads each page that is in use once."""

    def __init__(self) -> None:
        self.page_bytes = 0


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
        for page, spans in self.leaves(bucket):
            for _, key, value, end in spans:
                yield page[key:value], page[value:end]

    def leaves(
        self, bucket: bytes, *, start: bytes = b"", backward: bool = False, usage: Usage | None = None
    ) -> Iterator[Leaf]:
        """Yield the leaf pages of a bucket with the spans of their elements, from the first leaf that can have `start`.

        `backward`: yield the last page first. The spans in a page are always in order of the keys.
        """
        page = self._find(bucket, usage)
        if page is not None:
            yield from _ascending(self._leaves(page, start, backward, usage), backward=backward)

    def buckets(self, usage: Usage | None = None) -> Iterator[tuple[bytes, int]]:
        """Yield the names of all buckets, in order, and their sequence numbers."""
        for number, (name, value) in enumerate(self._root_elements(usage)):
            if number == _MAX_BUCKETS:
                raise ValueError(f"it has more than {_MAX_BUCKETS} buckets")
            yield name, BUCKET_HEADER.unpack_from(value)[1]

    def last_key(self, bucket: bytes) -> bytes | None:
        """Return the greatest key of a bucket, or None if it has none."""
        for page, spans in self.leaves(bucket, backward=True):
            for _, key, value, _ in spans[-1:]:
                return page[key:value]
        return None

    def _find(self, wanted: bytes, usage: Usage | None = None) -> bytes | None:
        for name, value in self._root_elements(None):
            if name == wanted:
                root, _ = BUCKET_HEADER.unpack_from(value)
                # A small bucket has no page of its own: it is inline, after the bucket header.
                return self._page(root, usage) if root else value[BUCKET_HEADER.size :]
        return None

    def _root_elements(self, usage: Usage | None) -> Iterator[tuple[bytes, bytes]]:
        root = self._leaves(self._page(self.root, usage), b"", False, usage)
        for page, spans in _ascending(root, backward=False):
            for flags, key, value, end in spans:
                if flags & BUCKET_ELEMENT:
                    yield page[key:value], page[value:end]

    def _page(self, number: int, usage: Usage | None = None) -> bytes:
        start = number * self.page_size
        page = self.read(start, start + self.page_size)
        if len(page) < HEADER.size:
            raise ValueError(f"page {number} is beyond the end of the file")
        _, _, _, overflow = HEADER.unpack_from(page)
        size = (overflow + 1) * self.page_size
        if size > MAX_PAGE_BYTES:
            raise ValueError(f"page {number} has more than {MAX_PAGE_BYTES >> 20} MiB")
        if usage is not None:
            usage.page_bytes += size
        return bytes(self.read(start, start + size) if overflow else page)

    def _leaves(
        self, page: bytes, start: bytes, backward: bool, usage: Usage | None, depth: int = 0
    ) -> Iterator[Leaf]:
        _, kind, count, _ = HEADER.unpack_from(page)
        if not count and depth:
            raise ValueError("a page is empty")
        if kind & BRANCH and depth < _MAX_DEPTH:
            for number in self._children(page, count, start, backward):
                yield from self._leaves(self._page(number, usage), start, backward, usage, depth + 1)
        elif kind & LEAF:
            yield page, _spans(page, count)
        else:
            raise ValueError("a page is neither a branch nor a leaf")

    def _children(self, page: bytes, count: int, start: bytes, backward: bool) -> list[int]:
        """Return the pages below a branch. Those that have only keys before `start` are left out."""
        found: list[int] = []
        for index in range(count):
            at = HEADER.size + index * BRANCH_ELEMENT.size
            position, key_size, number = BRANCH_ELEMENT.unpack_from(page, at)
            if start and page[at + position : at + position + key_size] <= start:
                found.clear()
            found.append(number)
        return found[::-1] if backward else found


def _spans(page: bytes, count: int) -> list[Span]:
    """Return the spans of the elements of a leaf. bbolt writes keys and values one after the other."""
    spans: list[Span] = []
    at, end = HEADER.size, HEADER.size + count * LEAF_ELEMENT.size
    for flags, position, key_size, value_size in LEAF_ELEMENT.iter_unpack(page[at:end]):
        key = at + position
        if key < end:
            raise ValueError("two elements of a page overlap")
        value = key + key_size
        end = value + value_size
        spans.append((flags, key, value, end))
        at += LEAF_ELEMENT.size
    if end > len(page):
        raise ValueError("an element is longer than its page")
    return spans


def _ascending(leaves: Iterator[Leaf], *, backward: bool) -> Iterator[Leaf]:
    """Yield the same leaves. Raise ValueError if a key is not greater than the one before it."""
    edge: bytes | None = None
    for page, spans in leaves:
        keys = [page[key:value] for _, key, value, _ in spans]
        if edge is not None:
            keys = [*keys, edge] if backward else [edge, *keys]
        if not all(map(lt, keys, keys[1:])):
            raise ValueError("the keys are not in order")
        edge = (keys[0] if backward else keys[-1]) if keys else edge
        yield page, spans


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
    return max(_revision(bolt.last_key(b"key")), compacted_revision(bolt), 1)


def compacted_revision(bolt: Bolt) -> int:
    """Return the revision from which on the database has the whole history; 0 if it was never compacted.

    A scheduled compaction can have removed a part of what is older. etcd resumes it when it starts.
    """
    return max(_meta_revisions(bolt))


def finished_compaction(bolt: Bolt) -> int:
    """Return the revision up to which the database has no old row of a key; 0 if there is none."""
    scheduled, finished = _meta_revisions(bolt)
    return finished if finished >= scheduled else 0


def _meta_revisions(bolt: Bolt) -> tuple[int, int]:
    scheduled, finished = (bolt.value(b"meta", name) for name in _COMPACTED)
    return _revision(scheduled), _revision(finished)


def _revision(stored: bytes | None) -> int:
    return max(_REVISION.unpack_from(stored)[0], 0) if stored else 0


def cluster_version(bolt: Bolt) -> str:
    """Return the cluster version that the members agreed on, for example `3.6.0`. Empty if they had not agreed yet."""
    return (bolt.value(b"cluster", b"clusterVersion") or b"").decode("ascii", "replace")


def _meta_starts(read: Read) -> tuple[int, int]:
    page_size = META_BODY.unpack(_meta_body(read, 0))[2]
    return (0, page_size)


def _meta_body(read: Read, start: int) -> memoryview:
    return read(start + HEADER.size, start + HEADER.size + META_BODY.size)


def _meta(read: Read, start: int) -> tuple[int, int, int] | None:
    magic, _, page_size, _, root, _, _, _, transaction = META_BODY.unpack(_meta_body(read, start))
    is_meta = magic == MAGIC and _MIN_PAGE_SIZE <= page_size <= _MAX_PAGE_SIZE
    return (transaction, page_size, root) if is_meta else None
