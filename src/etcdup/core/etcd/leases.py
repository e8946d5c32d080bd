"""The leases in etcd's database, and the keys that are attached to them. Read-only."""

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.keys import key_text
from etcdup.core.etcd.rows import BUCKET, is_deletion, read_change

# Reading a million revisions takes several seconds. A larger database is restored without the counts of keys.
MAX_REVISIONS = 1_000_000
_PREFIX_PARTS = 2
_PREFIX_LENGTH = 48


@dataclass(frozen=True)
class LeaseUse:
    """How many leases a database has, and how many keys are attached to them, by prefix with the largest number first.

    `keys` is None if the database is too large to count them.
    """

    leases: int = 0
    keys: int | None = 0
    by_prefix: tuple[tuple[str, int], ...] = ()


def read_leases(bolt: Bolt, max_revisions: int = MAX_REVISIONS) -> LeaseUse:
    """Return the leases of a database. The keys are read only if there are leases."""
    leases = sum(1 for _ in islice(bolt.items(b"lease"), max_revisions))
    if not leases:
        return LeaseUse()
    attached = _attached_keys(bolt, max_revisions)
    if attached is None:
        return LeaseUse(leases, None)
    counts = Counter(key_prefix(key) for key in attached)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return LeaseUse(leases, len(attached), tuple(ordered))


def key_prefix(key: bytes) -> str:
    """Return the first two parts of a key, as text of printable characters: `/service/pg/leader` is `/service/pg/`."""
    text = key_text(key)
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    start = end = int(text.startswith("/"))
    for _ in range(_PREFIX_PARTS):
        end = text.find("/", end) + 1 or end
    shown = text[:end] if end > start else text
    return shown if len(shown) <= _PREFIX_LENGTH else f"{shown[:_PREFIX_LENGTH]}..."


def _attached_keys(bolt: Bolt, max_revisions: int) -> set[bytes] | None:
    """Return the keys whose newest revision has a lease, or None if there are too many revisions."""
    attached: set[bytes] = set()
    for number, (revision, value) in enumerate(bolt.items(BUCKET)):
        if number >= max_revisions:
            return None
        key, _, lease, _ = read_change(value, 0, len(value))
        if lease and not is_deletion(revision):
            attached.add(key)
        else:
            attached.discard(key)
    return attached
