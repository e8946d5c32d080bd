"""Databases are read as they were written, and the work on a hostile file is bounded."""

import struct

import pytest
from hypothesis import given

from etcdup.core.etcd.bbolt import MAX_PAGE_BYTES, Bolt, Usage
from etcdup.core.etcd.rows import revision_key
from tests.support.bolt_files import BUCKETS, PAGE, database, items_of, opened, page_numbers
from tests.support.texts import Texts


@given(BUCKETS)
def test_what_was_written_is_read(buckets: dict[bytes, dict[bytes, int]]) -> None:
    wanted = items_of(buckets)
    content = database(wanted)
    assert page_numbers(content) == list(range(len(content) // PAGE))
    bolt = opened(content)
    usage = Usage()
    assert [name for name, _ in bolt.buckets(usage)] == sorted(wanted)
    for name, items in wanted.items():
        assert list(bolt.items(name)) == items
        backward = [
            page[key:value]
            for page, spans in bolt.leaves(name, backward=True, usage=usage)
            for _, key, value, _ in reversed(spans)
        ]
        assert backward == [key for key, _ in reversed(items)]
        assert bolt.last_key(name) == (items[-1][0] if items else None)
    assert usage.page_bytes == len(content) - 3 * PAGE


@pytest.mark.parametrize("count", [0, 1, 2, 3, 70, 71, 7000, 30_000])
def test_each_start_is_found(count: int) -> None:
    """The numbers are around a full leaf and a full branch."""
    items = [(revision_key(number), b"v" * 40) for number in range(count)]
    content = database({b"key": items})
    assert page_numbers(content) == list(range(len(content) // PAGE))
    bolt = opened(content)
    for start in {0, 1, count // 2, count - 1, count}:
        first = revision_key(max(start, 0))
        leaves = list(bolt.leaves(b"key", start=first))
        found = [page[key:value] for page, spans in leaves for _, key, value, _ in spans]
        assert [key for key in found if key >= first] == [key for key, _ in items if key >= first]
        assert len(found) - len([key for key in found if key >= first]) <= 100


LEAF, BRANCH = 2, 1


def hostile(pages: dict[int, bytes]) -> Bolt:
    """Return a database whose bucket `key` has its root in page 4, with these pages."""
    content = bytearray(database({b"key": [(b"a", b"1")]}))
    content += bytes(8 * PAGE)
    for number, page in pages.items():
        content[number * PAGE : number * PAGE + len(page)] = page
    return opened(bytes(content))


def leaf(*elements: tuple[int, int, int], content: bytes = b"") -> bytes:
    table = b"".join(struct.pack("<IIII", 0, *each) for each in elements)
    return struct.pack("<QHHI", 4, LEAF, len(elements), 0) + table + content


def branch(*children: int) -> bytes:
    table = b"".join(struct.pack("<IIQ", 0, 0, child) for child in children)
    return struct.pack("<QHHI", 4, BRANCH, len(children), 0) + table


def one_key(key: bytes) -> bytes:
    return leaf((16, len(key), 0), content=key)


ATTACKS = {
    "a cycle": {4: branch(4, 4)},
    "branches without an end": {
        **{number: branch(*[number + 1] * 200) for number in (4, 5, 6, 7)},
        8: one_key(b"a"),
    },
    "a page twice": {4: branch(5, 5), 5: one_key(b"a")},
    "an empty page": {4: branch(5, 5), 5: leaf()},
    "an empty branch": {4: branch(5, 5), 5: branch()},
    "keys that descend": {4: branch(5, 6), 5: one_key(b"b"), 6: one_key(b"a")},
    "elements that overlap": {4: leaf((32, 1, 3000), (17, 1, 3000), content=b"ab")},
    "an element beyond its page": {4: leaf((16, 1, PAGE), content=b"a")},
    "a page beyond the file": {4: branch(5, 1 << 60), 5: one_key(b"a")},
    "a page of the size of the file": {4: struct.pack("<QHHI", 4, LEAF, 1, MAX_PAGE_BYTES // PAGE)},
    "more elements than the page has": {4: struct.pack("<QHHI", 4, LEAF, 65535, 0)},
    "a free page": {4: struct.pack("<QHHI", 4, 0x10, 1, 0)},
}  # fmt: skip


@pytest.mark.parametrize("pages", ATTACKS.values(), ids=ATTACKS.keys())
@pytest.mark.parametrize("backward", [False, True])
def test_a_hostile_file_ends_with_an_error(pages: dict[int, bytes], backward: bool) -> None:
    read = 0

    def counted(bolt: Bolt) -> Bolt:
        def count(start: int, stop: int) -> memoryview:
            nonlocal read
            read += 1
            return bolt.read(start, stop)

        return Bolt(count, bolt.page_size, bolt.root)

    bolt = counted(hostile(pages))
    with pytest.raises((ValueError, struct.error)):
        list(bolt.leaves(b"key", backward=backward))
    assert read < 200


def test_the_size_of_a_page_and_the_number_of_buckets_are_bounded(texts: Texts) -> None:
    content = bytearray(database({b"%03d" % number: [] for number in range(65)}))
    with pytest.raises(ValueError) as caught:
        list(opened(bytes(content)).buckets())
    texts(caught.value)
    for start in (0, PAGE):
        struct.pack_into("<I", content, start + 24, 1 << 31)
    with pytest.raises(ValueError) as caught:
        opened(bytes(content))
    texts(caught.value)


def test_a_file_that_is_cut_is_an_error() -> None:
    content = database({b"key": [(revision_key(number), bytes(100)) for number in range(200)]})
    with pytest.raises((ValueError, struct.error)):
        list(opened(content[: 5 * PAGE]).items(b"key"))
