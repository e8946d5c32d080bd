"""What a compaction would leave in the database of a snapshot."""

from dataclasses import dataclass
from datetime import datetime

from etcdup.core.backups.change_log import read_times
from etcdup.core.etcd.bbolt import ELEMENT_BYTES, Bolt, finished_compaction, newest_revision
from etcdup.core.etcd.rows import BUCKET, is_deletion, read_change, revision_key
from etcdup.core.maintain.key_set import KeySet

# The revisions that are kept if the times of revisions are not known.
_KEPT_REVISIONS = 1000


@dataclass(frozen=True)
class Compaction:
    """A compaction to a revision, with the rows that are left and their bytes. Revision 0 is no compaction."""

    revision: int
    rows: int
    bytes: int


def revision_until(bolt: Bolt, until: datetime) -> int:
    """Return the newest revision that is not after a time; without known times, the 1000th from the newest one."""
    newest = newest_revision(bolt)
    if found := read_times(bolt).last_until(until):
        return found[0]
    return max(newest - _KEPT_REVISIONS, 0)


def measure_compaction(bolt: Bolt, revision: int, keys: KeySet | None = None) -> Compaction:
    """Return what is left after a compaction to this revision. Raise ValueError if the file is damaged.

    Up to the revision, etcd keeps the newest row of each key, unless that is a deletion. It keeps all later rows.
    """
    known = keys or KeySet()
    first_kept, first_known = revision_key(revision + 1), revision_key(finished_compaction(bolt) + 1)
    rows = size = 0
    for page, spans in bolt.leaves(BUCKET, backward=True):
        for _, at, message, end in reversed(spans):
            row = page[at:message]
            if row < first_kept:
                key = read_change(page, message, end).key
                is_newest = known.add(key) if row >= first_known else key not in known
                if not is_newest or is_deletion(row):
                    continue
            rows += 1
            size += end - at + ELEMENT_BYTES
    return Compaction(revision, rows, size)
