"""The content of a database as of an earlier revision. It is constructed from the rows of a snapshot, not replayed.

A snapshot has all changes since its last compaction. Without the rows after a revision, it is the database as it was at
that revision. The other buckets are those of the snapshot: leases, users, members.
"""

from collections.abc import Iterator
from heapq import merge

from etcdup.core.etcd import alarms
from etcdup.core.etcd.bbolt import Bolt, compacted_revision, newest_revision
from etcdup.core.etcd.rows import BUCKET, read_change, read_revision
from etcdup.core.etcd.varint import write_varint

_LEASES = b"lease"
# A lease that expired after the revision has no row any more. Without a row, the keys on it would never expire.
_ORPHAN_TTL_S = 60
# More leases would not fit into the memory of this process.
_MOST_LEASES = 1_000_000
_LAST_LEASE = (1 << 63) - 1

# The name of a bucket, its sequence number and its items. Read them in this order.
Content = tuple[bytes, int, Iterator[tuple[bytes, bytes]]]


def available_revisions(bolt: Bolt) -> tuple[int, int]:
    """Return the oldest and the newest revision for which the database has all keys."""
    return max(compacted_revision(bolt), 1), newest_revision(bolt)


def content_of(bolt: Bolt) -> Iterator[Content]:
    """Yield all buckets as they are."""
    for name, sequence in bolt.buckets():
        yield name, sequence, bolt.items(name)


def without_alarms(content: Iterator[Content]) -> Iterator[Content]:
    """Yield the same buckets, that of the alarms without its items."""
    for name, sequence, items in content:
        yield name, sequence, iter(()) if name == alarms.BUCKET else items


def content_at(bolt: Bolt, revision: int) -> Iterator[Content]:
    """Yield all buckets as of a revision, which `available_revisions` includes. Raise ValueError for a damaged file."""
    leases: set[int] = set()
    for name, sequence in bolt.buckets():
        if name == BUCKET:
            yield name, sequence, _rows_until(bolt, revision, leases)
        elif name == _LEASES:
            yield name, sequence, _with_orphans(bolt, leases)
        else:
            yield name, sequence, bolt.items(name)


def _rows_until(bolt: Bolt, revision: int, leases: set[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows up to a revision, and collect their leases."""
    for page, spans in bolt.leaves(BUCKET):
        for _, at, value, end in spans:
            key = page[at:value]
            if read_revision(key)[0] > revision:
                return
            if lease := read_change(page, value, end).lease:
                leases.add(lease)
                if lease > _LAST_LEASE or len(leases) > _MOST_LEASES:
                    raise ValueError("it has a lease that etcd does not make, or more than a million leases")
            yield key, page[value:end]


def _with_orphans(bolt: Bolt, leases: set[int]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the rows of all leases, and a row for each lease in `leases` that has none."""
    # No set of the stored leases: a hostile file can have any number of them.
    orphans = leases.difference(int.from_bytes(key) for key, _ in bolt.items(_LEASES))
    rows = ((number.to_bytes(8), _lease_row(number)) for number in sorted(orphans))
    return merge(bolt.items(_LEASES), rows)


def _lease_row(number: int) -> bytes:
    """Return a leasepb.Lease: https://github.com/etcd-io/etcd/blob/main/server/lease/leasepb/lease.proto."""
    return b"\x08" + write_varint(number) + b"\x10" + write_varint(_ORPHAN_TTL_S)
