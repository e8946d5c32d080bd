"""One etcd cluster in memory: the state that its members agree on through raft, and etcd's rules for changing it.

process.py has which members run, and which members are connected.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

Series = tuple[int, int]

# etcd compares the versions of all members every 5 s. The cluster version was observed to change in 2.7 s (rule 46).
VERSION_INTERVAL_S = 4.0


class FakeRefusal(Exception):
    """A refusal of etcd: the gRPC code and the text, for `translate` of remote/etcd/errors.py."""

    def __init__(self, text: str, code: str = "FAILED_PRECONDITION") -> None:
        super().__init__(text)
        self.text = f"etcdserver: {text}"
        self.code = code


def stable_id(text: str) -> int:
    """Return an ID or a hash of a text, which is always the same."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


@dataclass
class FakeMember:
    """A member in the member list. Its name and client URLs are empty until it has started."""

    member_id: int
    peer_urls: tuple[str, ...]
    name: str = ""
    client_urls: tuple[str, ...] = ()
    is_learner: bool = False


@dataclass
class FakeCluster:
    """The state that all members agree on. Tests set `auth`, `denied`, `roles`, `alarms`, `db_size`.

    `denied` is the answer of etcd to requests of etcdup while its users are enabled. `roles` are those of users.

    `version` is the minor of the cluster; since `changing_since` all members are ready for another minor. `last_v2` is
    the index of the last v2 request in the log, `raft_snapshots` the index of the newest raft snapshot by member ID.
    `changed_at` has the revision of the last change of a key; without an entry, it is 1. `leases` are the keys on each
    lease. `db_size` is the size of the databases with `db_in_use` bytes in use. `db_old` are those of the history,
    which a compaction frees; it ends at `compacts_until`. `defragmented` has the size of those that were defragmented,
    by member ID. `was_blocked_twice`: two members were defragmented at the same time. `hashes` has what some members
    answer when they are asked for the hash of their data, by member ID: other data, or a lie.
    """

    cluster_id: int
    members: dict[int, FakeMember]
    leader: int = 0
    term: int = 1
    index: int = 4
    keys: dict[bytes, bytes] = field(default_factory=dict)
    changed_at: dict[bytes, int] = field(default_factory=dict)
    leases: dict[int, set[bytes]] = field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    db_size: int = 20_480
    db_in_use: int = 16_384
    db_old: int = 0
    compacted: int = 0
    compacts_until: float = 0.0
    defragmented: dict[int, int] = field(default_factory=dict)
    was_blocked_twice: bool = False
    hashes: dict[int, int] = field(default_factory=dict)
    auth: bool = False
    denied: str = ""
    roles: dict[str, tuple[str, ...]] = field(default_factory=dict)
    version: Series | None = None
    downgrade_to: Series | None = None
    changing_since: float | None = None
    added: int = 0
    last_v2: int = 0
    raft_snapshots: dict[int, int] = field(default_factory=dict)

    @property
    def voters(self) -> dict[int, FakeMember]:
        return {each: member for each, member in self.members.items() if not member.is_learner}

    @property
    def quorum(self) -> int:
        return len(self.voters) // 2 + 1

    def member(self, member_id: int) -> FakeMember:
        if member_id not in self.members:
            raise FakeRefusal("member not found", "NOT_FOUND")
        return self.members[member_id]

    def size_of(self, member_id: int) -> int:
        """Return the size of the database of a member."""
        return self.defragmented.get(member_id, self.db_size)

    def compact(self, revision: int) -> bool:
        """Free the space of the history. Return whether the revision was not compacted before."""
        if revision <= self.compacted:
            return False
        self.compacted = revision
        self.db_in_use, self.db_old = self.db_in_use - self.db_old, 0
        return True

    def put(self, key: bytes, value: bytes) -> None:
        """Write a key, which then has no lease."""
        self.index += 1
        self.keys[key], self.changed_at[key] = value, self.index
        for keys in self.leases.values():
            keys.discard(key)

    def revision_of(self, key: bytes) -> int:
        """Return the revision of the last change of a key, 0 if it does not exist."""
        return self.changed_at.get(key, 1) if key in self.keys else 0

    def lease_of(self, key: bytes) -> int:
        return next((lease for lease, keys in self.leases.items() if key in keys), 0)

    def revoke(self, lease: int) -> None:
        """Revoke a lease, and delete the keys on it."""
        for key in self.leases.pop(lease, set()):
            self.keys.pop(key, None)
        self.index += 1

    def load(self, snapshot: bytes) -> None:
        """Take the keys of a snapshot: lines of `key=value`, or of `@ID key=value` for a key on the lease with this ID.

        A line `!ALARM` is an alarm. A lease without keys is not in a snapshot.
        """
        self.keys, self.leases, self.alarms = {}, {}, ()
        for line in snapshot.partition(b"\0")[0].splitlines():
            if line.startswith(b"!"):
                self.alarms += (line[1:].decode(),)
                continue
            lease, on_lease, rest = line[1:].partition(b" ") if line.startswith(b"@") else (b"", b"", line)
            key, _, value = rest.partition(b"=")
            self.keys[key] = value
            if on_lease:
                self.leases.setdefault(int(lease), set()).add(key)

    def dump(self) -> bytes:
        """Return the keys as a snapshot for `load`."""
        owners = {key: b"@%d " % lease for lease, keys in self.leases.items() for key in keys}
        alarms = b"".join(b"!%s\n" % alarm.encode() for alarm in self.alarms)
        return alarms + b"".join(
            owners.get(key, b"") + b"%s=%s\n" % (key, self.keys[key]) for key in sorted(self.keys)
        )

    def add_learner(self, urls: Sequence[str]) -> FakeMember:
        """Add a learner, with a new ID each time (rule 31). etcd computes the ID from the URLs and the time in seconds;
        here a counter replaces the time, which is virtual."""
        self._check_urls_free(urls, except_id=0)
        if any(member.is_learner for member in self.members.values()):
            raise FakeRefusal("too many learner members in cluster")
        self.added += 1
        member_id = stable_id(f"{self.cluster_id} {','.join(urls)} {self.added}")
        self.members[member_id] = FakeMember(member_id, tuple(urls), is_learner=True)
        self.index += 1
        return self.members[member_id]

    def remove(self, member_id: int) -> None:
        del self.members[self.member(member_id).member_id]
        self.index += 1

    def promote(self, member_id: int, *, in_sync: bool) -> None:
        member = self.member(member_id)
        if not member.is_learner:
            raise FakeRefusal("can only promote a learner member")
        if not in_sync:
            raise FakeRefusal("can only promote a learner member which is in sync with leader")
        member.is_learner = False
        self.index += 1

    def update(self, member_id: int, urls: Sequence[str], *, promotes: bool) -> None:
        """Change peer URLs. With `promotes` a learner becomes a voter, as before 3.5.31 and 3.6.12 (rule 23)."""
        member = self.member(member_id)
        self._check_urls_free(urls, except_id=member_id)
        member.peer_urls = tuple(urls)
        member.is_learner = member.is_learner and not promotes
        self.index += 1

    def _check_urls_free(self, urls: Sequence[str], except_id: int) -> None:
        others = [member for each, member in self.members.items() if each != except_id]
        if {url for member in others for url in member.peer_urls} & set(urls):
            raise FakeRefusal("Peer URLs already exists")

    def not_enough_started(self, leaving: int) -> bool:
        """Return whether etcd refuses the removal of a voter, because the started voters left are no quorum."""
        left = [member for each, member in self.voters.items() if each != leaving]
        return sum(member.name != "" for member in left) < len(left) // 2 + 1

    def validate_downgrade(self, target: Series) -> None:
        """Refuse a downgrade by more than one minor (rule 47)."""
        if self.version is None or target != (self.version[0], self.version[1] - 1):
            raise FakeRefusal("invalid downgrade target version")
        if self.downgrade_to is not None:
            raise FakeRefusal("cluster has a downgrade job in progress")

    def follow_versions(self, running: Sequence[Series], now: float) -> None:
        """Update the cluster version from the minors of the members that the leader reaches, learners included.

        The version rises when all members run a newer minor, and falls only to the target of a downgrade.
        """
        if self.version is None:
            self.version = min(running)
        all_seen = len(running) == len(self.members)
        wanted = self.downgrade_to or max(min(running), self.version)
        if not all_seen or wanted == self.version:
            self.changing_since = None
        elif self.changing_since is None:
            self.changing_since = now
        elif now - self.changing_since >= VERSION_INTERVAL_S:
            self.version, self.changing_since = wanted, None
        if all_seen and set(running) == {self.downgrade_to}:
            self.downgrade_to = None


@dataclass
class FakeClusters:
    """All clusters that were formed on these machines, by ID."""

    by_id: dict[int, FakeCluster] = field(default_factory=dict)

    @property
    def leaders(self) -> dict[int, str]:
        """Return the name of the leader of each cluster, by the ID of the cluster."""
        return {
            each: cluster.members[cluster.leader].name
            for each, cluster in self.by_id.items()
            if cluster.leader in cluster.members
        }

    def only(self) -> FakeCluster:
        """Return the only cluster, for tests."""
        (cluster,) = self.by_id.values()
        return cluster

    def bootstrap(
        self, token: str, initial: dict[str, tuple[str, ...]], name: str
    ) -> tuple[FakeCluster, int]:
        """Return the cluster and the member ID that etcd derives from token and URLs (rule 4).

        Raises ValueError with the text of etcd if the member was part of the cluster before. A real member must reach
        a peer to find that out (rule 7); here it always reaches one.
        """
        ids = {each: stable_id(f"{token} {','.join(sorted(urls))}") for each, urls in initial.items()}
        cluster_id = stable_id(" ".join(str(each) for each in sorted(ids.values())))
        cluster = self.by_id.get(cluster_id)
        if cluster is None:
            members = {ids[each]: FakeMember(ids[each], urls) for each, urls in initial.items()}
            cluster = self.by_id[cluster_id] = FakeCluster(cluster_id, members)
        known = cluster.members.get(ids[name])
        if known is None or known.client_urls:
            raise ValueError(f"member {ids[name]:x} has already been bootstrapped")
        return cluster, ids[name]
