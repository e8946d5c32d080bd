"""How fast the database file grows, and when it reaches the quota."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

# Older sizes say little about the present growth, and sizes of the same hour say little at all.
_WINDOW = timedelta(days=7)
_SHORTEST = timedelta(hours=1)
_DAY_S = 86_400


@dataclass(frozen=True)
class Growth:
    """The growth since a time. `days_to_quota` is None if the file does not grow."""

    since: datetime
    bytes_per_day: float
    days_to_quota: float | None


def growth_of(sizes: Sequence[tuple[datetime, int]], quota: int) -> Growth | None:
    """Return the growth from the oldest to the newest size of the last week. None if they are not an hour apart.

    etcd compares the size of the file with the quota, not the bytes in use. So these are sizes of files.
    """
    ordered = sorted(sizes)
    if not ordered:
        return None
    until, size = ordered[-1]
    since, before = next(each for each in ordered if each[0] >= until - _WINDOW)
    if until - since < _SHORTEST:
        return None
    per_day = (size - before) / (until - since).total_seconds() * _DAY_S
    days = max(quota - size, 0) / per_day if per_day > 0 else None
    return Growth(since, per_day, days)
