"""The keys that a database had at a revision, of one prefix: without a restore of the whole database."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.rows import is_deletion, read_change, read_revision, read_value, rows

# etcdup's own keys: the canary of the backups, the startup fence, the proofs of health. They are never restored.
OWN_PREFIX = b"etcdup/"
# All keys of the prefix are in memory at the same time.
MOST_KEYS = 500_000

# The revision of a row, and the number of the change in that revision.
Row = tuple[int, int]
Item = TypeVar("Item")


class OldKey(NamedTuple):
    """A key, its value and its lease as of the revision. `row` is the change that wrote them."""

    key: bytes
    value: bytes
    lease: int
    row: Row


def find_rows(bolt: Bolt, revision: int, prefix: bytes, most: int = MOST_KEYS) -> list[Row] | None:
    """Return the rows with the keys as of a revision, in order. Return None if there are too many keys.

    Raise ValueError for a damaged file.
    """
    newest: dict[bytes, Row] = {}
    for revision_key, page, at, end in rows(bolt):
        row = read_revision(revision_key)
        if row[0] > revision:
            break
        key = read_change(page, at, end).key
        # A restore that raised the revisions wrote a row without a key.
        if not key or not key.startswith(prefix) or key.startswith(OWN_PREFIX):
            continue
        if is_deletion(revision_key):
            newest.pop(key, None)
        else:
            newest[key] = row
        if len(newest) > most:
            return None
    return sorted(newest.values())


def read_rows(bolt: Bolt, wanted: Sequence[Row]) -> Iterator[OldKey]:
    """Yield the keys in these rows, which are in order. No more than one page is in memory."""
    left = iter(wanted)
    row = next(left, None)
    if row is None:
        return
    for revision_key, page, at, end in rows(bolt, row[0]):
        if read_revision(revision_key) != row:
            continue
        change = read_change(page, at, end)
        yield OldKey(change.key, read_value(page[at:end]), change.lease, row)
        row = next(left, None)
        if row is None:
            return


def batched(
    items: Iterable[Item], size_of: Callable[[Item], int], most: int, most_bytes: int
) -> Iterator[list[Item]]:
    """Yield the items in order, in lists of at most `most` items and `most_bytes`. A larger item is alone."""
    batch: list[Item] = []
    size = 0
    for item in items:
        own = size_of(item)
        if batch and (len(batch) == most or size + own > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += own
    if batch:
        yield batch
