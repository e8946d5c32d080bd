"""What a member reads again from its write-ahead log (WAL) when it starts: all entries after its newest raft snapshot.

Up to 3.5, etcd writes requests of the v2 API into the log, also if no client uses that API: each member its name and
its client URLs at each start, and the leader the cluster version. 3.7 panics if it reads one of them again (rule 111).

3.7 starts from the last snapshot record of the log that is committed, and does not read the `.snap` files
(https://github.com/etcd-io/etcd/blob/v3.7.1/server/etcdserver/bootstrap.go, recoverSnapshot).
"""

import re
from dataclasses import dataclass

from etcdup.core.etcd.wal import ENTRY, SNAPSHOT, STATE, complete_records, fields_of, numbers_of

# Parts of the v2 requests that 3.5 writes. A file without them has no such request.
V2_PATHS = ("/0/version", "/0/members/")
# The name of a log file has its number and the index of its first entry.
_NAME = re.compile(r"[0-9a-f]{16}-([0-9a-f]{16})\.wal", re.ASCII)
_NORMAL = 0  # an entry with a request; other entries change the member list


@dataclass(frozen=True)
class LogPart:
    """The last files of a log.

    `begin` is the index from which on they have all entries, and `first` the lowest index of their entries, or None.
    `commit` is the last stored commit index. `snapshots` are the indexes of the snapshot records, and `v2` those of the
    v2 requests.
    """

    begin: int
    first: int | None
    commit: int
    snapshots: tuple[int, ...]
    v2: tuple[int, ...]

    @property
    def snapshot(self) -> int | None:
        """Return the index of the snapshot from which the member starts; None if it is in an earlier file."""
        return max((index for index in self.snapshots if index <= self.commit), default=None)

    @property
    def is_whole(self) -> bool:
        """Return whether the part has everything that the member reads when it starts."""
        return self.begin == 0 or (self.snapshot is not None and self.begin <= self.snapshot + 1)

    @property
    def last_v2(self) -> int:
        """Return the index of the last v2 request; 0 if there is none."""
        return max(self.v2, default=0)

    @property
    def reads_v2(self) -> bool:
        """Return whether the part shows that the member reads a v2 request when it starts."""
        is_known = self.begin == 0 or self.snapshot is not None
        return is_known and self.last_v2 > (self.snapshot or 0)

    @property
    def starts_without_v2(self) -> bool:
        """Return whether it is proved that the member reads no v2 request when it starts."""
        return self.is_whole and not self.reads_v2

    def after(self, older: "LogPart") -> "LogPart":
        """Return this part together with the file before it. A later entry replaces earlier ones from its index on."""
        kept = tuple(index for index in older.v2 if self.first is None or index < self.first)
        firsts = [index for index in (older.first, self.first) if index is not None]
        return LogPart(
            older.begin,
            min(firsts, default=None),
            self.commit,
            older.snapshots + self.snapshots,
            kept + self.v2,
        )


def parse_log_part(name: str, file: bytes) -> LogPart:
    """Return the content of one log file. Raise ValueError if it is not a file of a write-ahead log."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError("the file does not have the name of a write-ahead log")
    commit, first = 0, None
    snapshots: list[int] = []
    v2: list[int] = []
    for record in complete_records(file):
        if record.kind == STATE:
            (commit,) = numbers_of(record.data, 3)
        elif record.kind == SNAPSHOT:
            snapshots += numbers_of(record.data, 1)
        elif record.kind == ENTRY:
            index, is_v2 = _entry(record.data)
            first = index if first is None else min(first, index)
            while v2 and v2[-1] >= index:
                v2.pop()
            v2 += [index] * is_v2
    return LogPart(int(match[1], 16), first, commit, tuple(snapshots), tuple(v2))


def _entry(record: bytes) -> tuple[int, bool]:
    fields = dict(fields_of(record))
    index, data = fields.get(3, 0), fields.get(4, b"")
    if not isinstance(index, int) or not isinstance(data, bytes):
        raise ValueError("not an entry of a write-ahead log")
    return index, fields.get(1, _NORMAL) == _NORMAL and not _is_v3(data)


def _is_v3(request: bytes) -> bool:
    """Return whether 3.7 can read the request: a message whose fields are messages, apart from its ID.

    Field 2 is a v2 request inside it. A v2 request alone always has a number as field 5.
    """
    try:
        return all(
            isinstance(value, int) if number == 1 else isinstance(value, bytes) and number != 2
            for number, value in fields_of(request)
        )
    except ValueError:
        return False
