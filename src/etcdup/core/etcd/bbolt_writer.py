"""Write a bbolt database from sorted buckets, in one pass and with constant memory.

The pages are filled in order: leaves from the first key to the last, and each branch after the pages below it. Only the
first pages depend on the whole database, so they are written last. etcd and `bbolt check` accept the file: no page is
unused, the free list is empty, and each branch has at least two children.

The layout is described in bbolt.py.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add

from etcdup.core.etcd.bbolt import (
    BRANCH,
    BRANCH_ELEMENT,
    BUCKET_ELEMENT,
    BUCKET_HEADER,
    ELEMENT_BYTES,
    HEADER,
    LEAF,
    MAGIC,
    META_BODY,
)

_VERSION = 2
_META, _FREELIST = 0x04, 0x10  # flags of a page, in addition to those of bbolt.py
# The pages at the start: two meta pages, the free list, and the leaf with all buckets.
_FREELIST_PAGE, _ROOT_PAGE, _FIRST_PAGE = 2, 3, 4
# etcd fills pages to this share, too. A later change then does not split each page.
_FILL = 0.9
# bbolt requires two children of a branch. So a full branch leaves two for the next branch.
_LEAST_CHILDREN = 2
_FNV_START, _FNV_PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


@dataclass
class _Leaf:
    """The keys and values that wait for their page: a key, then its value, then the next key."""

    parts: list[bytes] = field(default_factory=list)
    size: int = HEADER.size

    def add(self, key: bytes, value: bytes) -> None:
        self.parts += (key, value)
        self.size += ELEMENT_BYTES + len(key) + len(value)

    @property
    def count(self) -> int:
        return len(self.parts) // 2

    def body(self, flags: int = 0) -> bytes:
        """Return the elements, and after them the keys and the values.

        A database can have millions of rows. So there is no loop over them here.
        """
        count, sizes = self.count, list(map(len, self.parts))
        before = [0, *accumulate(sizes)]
        # For each element: its flags, the distance from it to its key, and the sizes of its key and of its value.
        numbers = [flags] * (4 * count)
        numbers[1::4] = map(add, range(ELEMENT_BYTES * count, 0, -ELEMENT_BYTES), before[::2])
        numbers[2::4], numbers[3::4] = sizes[::2], sizes[1::2]
        return struct.pack(f"<{4 * count}I", *numbers) + b"".join(self.parts)


@dataclass
class _Branch:
    """The first keys and the numbers of the pages that wait for their branch."""

    keys: list[bytes] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    size: int = HEADER.size

    def add(self, key: bytes, page: int) -> None:
        self.keys.append(key)
        self.pages.append(page)
        self.size += ELEMENT_BYTES + len(key)

    def split(self) -> "tuple[_Branch, _Branch]":
        """Return a branch with all but the last children, and one with these."""
        parts = _Branch(), _Branch()
        for index, (key, page) in enumerate(zip(self.keys, self.pages, strict=True)):
            parts[index >= len(self.keys) - _LEAST_CHILDREN].add(key, page)
        return parts

    def body(self) -> bytes:
        elements = []
        distance = ELEMENT_BYTES * len(self.keys)
        for key, page in zip(self.keys, self.pages, strict=True):
            elements.append(BRANCH_ELEMENT.pack(distance, len(key), page))
            distance += len(key) - ELEMENT_BYTES
        return b"".join((*elements, *self.keys))


class BoltWriter:
    """A database. Write the pages of `add_bucket` after `head_size` bytes, and `head` before them at the end."""

    def __init__(self, page_size: int) -> None:
        self.head_size = _FIRST_PAGE * page_size
        self._page_size = page_size
        self._full = int(page_size * _FILL)
        self._next_page = _FIRST_PAGE
        self._buckets = _Leaf()

    def add_bucket(self, name: bytes, sequence: int, items: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
        """Yield the pages of a bucket. The names of the buckets, and the keys of each bucket, must ascend."""
        leaf, branches = _Leaf(), list[_Branch]()
        for key, value in items:
            if leaf.size + ELEMENT_BYTES + len(key) + len(value) > self._full and leaf.parts:
                yield from self._write(branches, 0, leaf.parts[0], LEAF, leaf.count, leaf.body())
                leaf = _Leaf()
            leaf.add(key, value)
        root = self._next_page
        yield self._page(LEAF, leaf.count, leaf.body())
        first, depth = leaf.parts[0] if leaf.parts else b"", 0
        while depth < len(branches):
            yield from self._add(branches, depth, first, root)
            last = branches[depth]
            first, root = last.keys[0], self._next_page
            yield self._page(BRANCH, len(last.keys), last.body())
            depth += 1
        self._buckets.add(name, BUCKET_HEADER.pack(root, sequence))

    def _write(
        self, branches: list[_Branch], depth: int, first: bytes, kind: int, count: int, body: bytes
    ) -> Iterator[bytes]:
        """Yield a page, and the branches above it that are full."""
        number = self._next_page
        yield self._page(kind, count, body)
        if depth == len(branches):
            branches.append(_Branch())
        yield from self._add(branches, depth, first, number)

    def _add(self, branches: list[_Branch], depth: int, first: bytes, page: int) -> Iterator[bytes]:
        """Add a page to the branch above it. Yield this branch if it is full."""
        branch = branches[depth]
        is_full = branch.size + ELEMENT_BYTES + len(first) > self._full
        if is_full and len(branch.keys) >= 2 * _LEAST_CHILDREN:
            full, branch = branch.split()
            branches[depth] = branch
            yield from self._write(branches, depth + 1, full.keys[0], BRANCH, len(full.keys), full.body())
        branch.add(first, page)

    def _page(self, kind: int, count: int, body: bytes) -> bytes:
        """Return the next page, with the pages that it continues on."""
        size = HEADER.size + len(body)
        pages = -(-size // self._page_size)
        number, self._next_page = self._next_page, self._next_page + pages
        header = HEADER.pack(number, kind, count, pages - 1)
        return b"".join((header, body, bytes(pages * self._page_size - size)))

    def head(self) -> bytes:
        """Return the first pages. Raise ValueError if there are too many buckets for one page."""
        body = self._buckets.body(BUCKET_ELEMENT)
        pages = (
            (0, _META, 0, self._meta(0)),
            (1, _META, 0, self._meta(1)),
            (_FREELIST_PAGE, _FREELIST, 0, b""),
            (_ROOT_PAGE, LEAF, self._buckets.count, body),
        )
        if HEADER.size + len(body) > self._page_size:
            raise ValueError("the names of the buckets do not fit into one page")
        return b"".join(
            (HEADER.pack(number, kind, count, 0) + content).ljust(self._page_size, b"\0")
            for number, kind, count, content in pages
        )

    def _meta(self, transaction: int) -> bytes:
        meta = META_BODY.pack(
            MAGIC, _VERSION, self._page_size, 0, _ROOT_PAGE, 0, _FREELIST_PAGE, self._next_page, transaction
        )
        return meta + _fnv64a(meta).to_bytes(8, "little")


def _fnv64a(content: bytes) -> int:
    """Return the checksum of a meta page."""
    value = _FNV_START
    for byte in content:
        value = (value ^ byte) * _FNV_PRIME & _MASK
    return value
