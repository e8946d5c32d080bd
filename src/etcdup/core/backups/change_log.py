"""The history in a snapshot: which keys changed, at which revision, and between which times.

etcd stores no times. But some rows contain one: each backup writes its name, with the time, into a key of etcdup, and
in a Kubernetes cluster each Lease object has the time of its last renewal. A change is between the times before and
after it. They come from the clocks of the machines that wrote them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from etcdup.core.backups.backups import CANARY, backup_time, cluster_of_backup
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.rows import is_deletion, read_change, read_revision, read_value, rows
from etcdup.core.etcd.wal import fields_of

# A database that was never compacted can have millions of renewals.
_MOST_TIMES = 50_000
_LARGEST_LEASE = 16 * 1024
_LEASES = b"/leases/"
_KUBERNETES_MAGIC = b"k8s\x00"
# Fields: runtime.Unknown.raw, Lease.spec, LeaseSpec.renewTime, MicroTime.seconds.
_RENEW_TIME = (2, 2, 4, 1)


@dataclass(frozen=True)
class KeyChange:
    """A change of one key. `kind` is `created`, `updated`, `deleted`, or `raised` for a row that a restore wrote.

    `number` is the position in the revision: a transaction, and the deletion of a range, change several keys in one.
    """

    revision: int
    number: int
    kind: str
    key: bytes
    size: int
    lease: int


@dataclass(frozen=True)
class Times:
    """The revisions whose time is known, in order, and these times, in order."""

    revisions: tuple[int, ...] = ()
    times: tuple[datetime, ...] = ()

    def around(self, revision: int) -> tuple[datetime | None, datetime | None]:
        """Return the last known time up to a revision, and the first one from it on."""
        after = bisect_right(self.revisions, revision)
        before = bisect_left(self.revisions, revision)
        return (
            self.times[after - 1] if after else None,
            self.times[before] if before < len(self.times) else None,
        )

    def last_until(self, at: datetime) -> tuple[int, datetime] | None:
        """Return the newest revision whose time is known and not after `at`, and this time."""
        index = bisect_right(self.times, at)
        return (self.revisions[index - 1], self.times[index - 1]) if index else None

    def next_after(self, revision: int) -> tuple[int, datetime] | None:
        """Return the oldest later revision whose time is known, and this time."""
        index = bisect_right(self.revisions, revision)
        return (self.revisions[index], self.times[index]) if index < len(self.times) else None

    def first_from(self, at: datetime) -> int | None:
        """Return the oldest revision whose time is known and not before `at`."""
        index = bisect_left(self.times, at)
        return self.revisions[index] if index < len(self.times) else None


def changes(
    bolt: Bolt, oldest: int = 0, newest: int | None = None, prefix: bytes = b""
) -> Iterator[KeyChange]:
    """Yield the changes of keys that begin with `prefix`, in order. Raise ValueError for a damaged file."""
    for revision_key, page, at, end in rows(bolt, oldest):
        revision, number = read_revision(revision_key)
        if newest is not None and revision > newest:
            return
        change = read_change(page, at, end)
        if change.key.startswith(prefix):
            kind = "updated"
            if is_deletion(revision_key):
                kind = "deleted"
            elif not change.key:
                kind = "raised"
            elif change.is_first:
                kind = "created"
            yield KeyChange(revision, number, kind, change.key, change.value_size, change.lease)


def read_times(bolt: Bolt) -> Times:
    """Return the times in the rows. If a clock is wrong, most other times contradict it, and its times are left out."""
    found: list[tuple[int, datetime]] = []
    for revision_key, page, at, end in rows(bolt):
        key = read_change(page, at, end).key
        if key != CANARY and (_LEASES not in key or end - at > _LARGEST_LEASE):
            continue
        value = read_value(page[at:end])
        time = _canary_time(value) if key == CANARY else _renew_time(value)
        if time is not None:
            if len(found) >= _MOST_TIMES:
                found = found[::2]
            found.append((read_revision(revision_key)[0], time))
    kept = _longest_ascending([time for _, time in found])
    return Times(tuple(found[index][0] for index in kept), tuple(found[index][1] for index in kept))


def _longest_ascending(times: Sequence[datetime]) -> list[int]:
    """Return the positions of the longest part of the times that ascends."""
    ends: list[datetime] = []  # the least last time of an ascending part of each length
    last: list[int] = []  # the position of that time
    previous: list[int] = []
    for index, time in enumerate(times):
        length = bisect_left(ends, time)
        previous.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [time]
        last[length : length + 1] = [index]
    found, at = list[int](), last[-1] if last else -1
    while at >= 0:
        found.append(at)
        at = previous[at]
    return found[::-1]


def _canary_time(value: bytes) -> datetime | None:
    name = value.decode("utf-8", "replace")
    return backup_time(name, cluster_of_backup(name) or "")


def _renew_time(value: bytes) -> datetime | None:
    """Return the renewal time of a Lease object of Kubernetes, as kube-apiserver stores it; None for other values."""
    if not value.startswith(_KUBERNETES_MAGIC):
        return None
    found: int | bytes | None = value[len(_KUBERNETES_MAGIC) :]
    try:
        for number in _RENEW_TIME:
            found = dict(fields_of(found)).get(number) if isinstance(found, bytes) else None
        return datetime.fromtimestamp(found, UTC) if isinstance(found, int) else None
    except (ValueError, OverflowError, OSError):
        return None
