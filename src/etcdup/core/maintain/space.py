"""What the bytes of etcd's database are used for: by prefix, with old revisions and leases.

The file is read once, from the newest row to the oldest. So the first row of a key is its present state, and each other
row of it is an old revision, which a compaction removes. All memory is bounded, whatever the file contains.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappush, heapreplace

from etcdup.core.etcd.bbolt import (
    ELEMENT_BYTES,
    Bolt,
    Span,
    Usage,
    compacted_revision,
    finished_compaction,
    newest_revision,
)
from etcdup.core.etcd.rows import BUCKET, is_deletion, read_change, revision_key
from etcdup.core.maintain.key_set import KeySet

_LEASES = b"lease"
# Pages that are not part of a bucket: two meta pages.
_META_PAGES = 2
_MOST_PREFIXES = 20_000
_MOST_HOT_KEYS = 10_000
# Longer prefixes and keys are cut. A key of etcd can have more than a megabyte.
PREFIX_BYTES = 256
KEY_BYTES = 1024
_LISTED_KEYS = 20
_KEYS, _BYTES, _OLD, _OLD_BYTES, _LEASED = range(5)


@dataclass(frozen=True)
class Use:
    """The keys with their bytes, the rows that a compaction removes with their bytes, and the keys on leases."""

    keys: int = 0
    bytes: int = 0
    old: int = 0
    old_bytes: int = 0
    leased: int = 0

    @property
    def total(self) -> int:
        return self.bytes + self.old_bytes

    def __add__(self, other: "Use") -> "Use":
        return Use(
            self.keys + other.keys, self.bytes + other.bytes, self.old + other.old,
            self.old_bytes + other.old_bytes, self.leased + other.leased,
        )  # fmt: skip


@dataclass(frozen=True)
class Space:
    """The use of a database file.

    `prefixes` are those up to the last `/` of a key. `other_bytes` are those of pages without rows. `changed` are
    the keys with the most old revisions and the bytes of these, and `largest` those with the most bytes. If `exact` is
    not set, there were too many keys to know which rows are old: some old rows then count as keys.
    """

    revision: int
    compacted: int
    file_bytes: int
    used_bytes: int
    whole: Use
    leases: int
    prefixes: Mapping[bytes, Use]
    other_bytes: int = 0
    changed: tuple[tuple[bytes, int, int], ...] = ()
    largest: tuple[tuple[bytes, int], ...] = ()
    exact: bool = True

    @property
    def free_bytes(self) -> int:
        """Return the bytes of pages without data, which only a defragmentation gives back to the disk."""
        return max(self.file_bytes - self.used_bytes, 0)


def measure_space(bolt: Bolt, file_bytes: int, prefix: bytes = b"", keys: KeySet | None = None) -> Space:
    """Return the use of a database in a file of this size. The lists have only keys that begin with `prefix`.

    Raise ValueError if the file is damaged.
    """
    usage, leases = Usage(), 0
    for name, _ in bolt.buckets(usage):
        if name != BUCKET:
            count = sum(len(spans) for _, spans in bolt.leaves(name, usage=usage))
            leases = count if name == _LEASES else leases
    other_bytes = usage.page_bytes + _META_PAGES * bolt.page_size
    counter = _Counter(prefix, finished_compaction(bolt), keys or KeySet())
    for page, spans in bolt.leaves(BUCKET, backward=True, usage=usage):
        counter.count(page, spans)
    prefixes = {name: Use(*numbers) for name, numbers in counter.prefixes.items()}
    return Space(
        revision=newest_revision(bolt), compacted=compacted_revision(bolt),
        file_bytes=file_bytes,
        used_bytes=usage.page_bytes + _META_PAGES * bolt.page_size,
        whole=sum(prefixes.values(), Use(*counter.hidden)), leases=leases,
        prefixes=prefixes, other_bytes=other_bytes,
        changed=counter.most_changed(), largest=counter.largest(), exact=not counter.newest.is_full,
    )  # fmt: skip


@dataclass
class _Counter:
    """The sums while the rows are read, from the newest to the oldest."""

    prefix: bytes
    compacted: int
    newest: KeySet
    # The sums of keys that do not begin with the prefix.
    hidden: list[int] = field(default_factory=lambda: [0] * 5)
    prefixes: dict[bytes, list[int]] = field(default_factory=dict)
    _changed: dict[bytes, list[int]] = field(default_factory=dict)
    _largest: list[tuple[int, bytes]] = field(default_factory=list)
    _least: int = 0

    def count(self, page: bytes, spans: list[Span]) -> None:
        # A finished compaction left one row of each key up to its revision: these keys need not be added.
        first_kept = revision_key(self.compacted + 1)
        for _, at, message, end in reversed(spans):
            revision = page[at:message]
            key, _, lease, _ = read_change(page, message, end)
            if not key:
                continue  # a restore raised the revisions with this row
            is_new = self.newest.add(key) if revision >= first_kept else key not in self.newest
            self._add(key, end - at + ELEMENT_BYTES, lease, is_key=is_new and not is_deletion(revision))

    def _add(self, key: bytes, size: int, lease: int, *, is_key: bool) -> None:
        is_shown = key.startswith(self.prefix)
        sums = self._sums_of(key) if is_shown else self.hidden
        if is_key:
            sums[_KEYS] += 1
            sums[_BYTES] += size
            sums[_LEASED] += lease != 0
            if is_shown and size > self._least:
                self._add_largest(key, size)
        else:
            sums[_OLD] += 1
            sums[_OLD_BYTES] += size
            if is_shown:
                self._add_changed(key[:KEY_BYTES], size)

    def _sums_of(self, key: bytes) -> list[int]:
        name = key[: key.rfind(b"/", 0, PREFIX_BYTES) + 1]
        sums = self.prefixes.get(name)
        if sums is None:
            if len(self.prefixes) >= _MOST_PREFIXES:
                self.prefixes = _merged(self.prefixes, len(self.prefix))
            sums = self.prefixes.setdefault(name, [0] * 5)
        return sums

    def _add_changed(self, key: bytes, size: int) -> None:
        sums = self._changed.get(key)
        if sums is None:
            if len(self._changed) >= _MOST_HOT_KEYS:
                most = sorted(self._changed.items(), key=lambda each: each[1], reverse=True)
                self._changed = dict(most[: _MOST_HOT_KEYS // 2])
            sums = self._changed[key] = [0, 0]
        sums[0] += 1
        sums[1] += size

    def _add_largest(self, key: bytes, size: int) -> None:
        if len(self._largest) < _LISTED_KEYS:
            heappush(self._largest, (size, key[:KEY_BYTES]))
        else:
            heapreplace(self._largest, (size, key[:KEY_BYTES]))
            self._least = self._largest[0][0]

    def most_changed(self) -> tuple[tuple[bytes, int, int], ...]:
        most = sorted(self._changed.items(), key=lambda each: (-each[1][0], -each[1][1], each[0]))
        return tuple((key, rows, size) for key, (rows, size) in most[:_LISTED_KEYS])

    def largest(self) -> tuple[tuple[bytes, int], ...]:
        return tuple((key, size) for size, key in sorted(self._largest, key=lambda each: (-each[0], each[1])))


def parent_of(prefix: bytes) -> bytes:
    """Return the prefix one level up: `/a/` for `/a/b/`, and nothing for `/`."""
    return prefix[: prefix.rfind(b"/", 0, -1) + 1]


def _merged(prefixes: dict[bytes, list[int]], shortest: int) -> dict[bytes, list[int]]:
    """Return the prefixes with the most bytes. The others count as part of a prefix above them."""
    ordered = sorted(prefixes.items(), key=lambda each: each[1][_BYTES] + each[1][_OLD_BYTES], reverse=True)
    kept = dict(ordered[: _MOST_PREFIXES // 2])
    for name, numbers in ordered[_MOST_PREFIXES // 2 :]:
        above = parent_of(name)
        while len(above) > shortest and above not in kept and len(kept) >= _MOST_PREFIXES * 3 // 4:
            above = parent_of(above)
        sums = kept.setdefault(above, [0] * 5)
        for index, number in enumerate(numbers):
            sums[index] += number
    return kept
