"""The seam to etcd's API: what a member can be asked. `etcd.py` asks real ones, the shipped fake is one."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from etcdup.core.observed.model import ListedMember, MemberSeen

DowngradeAction = Literal["validate", "enable", "cancel"]


@dataclass(frozen=True)
class Credentials:
    """PEM: the CA that signed the members' certificates, our client certificate and its key; never shown."""

    ca: bytes = field(repr=False)
    cert: bytes = field(repr=False)
    key: bytes = field(repr=False)


class KvHash(NamedTuple):
    """A member's keys and values as one number.

    Comparable between members where `compact_revision` and `hash_revision` are the same (rule 81).
    """

    hash: int
    compact_revision: int
    hash_revision: int


class KeyspaceSize(NamedTuple):
    """How much a member holds: its store's revision, and the keys that were there at it."""

    revision: int
    keys: int


class EtcdClient(Protocol):
    """One member. Methods raise an EtcdError (etcd_errors.py) when they fail, and nothing else.

    Calls that change something are made once, but for `prove`: after EtcdTimeout the caller has to look before it
    tries again.
    """

    name: str

    async def status(self, *, timeout_s: float) -> MemberSeen:
        """What the member says of itself; needs no quorum. A learner gives no member list: it is () then."""
        ...

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        """Returns once a write, and a linearizable read that saw it, went through this member (rule 11).

        Written again where there is no answer: an election in the meantime may have lost the write.
        """
        ...

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        """The value, or None. Not linearizable: of this member alone; needs no quorum, may be stale."""
        ...

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None: ...

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        """Whether there was such a key."""
        ...

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        """The member list, by ID. A 3.4 member always gives what it knows itself, which may be stale."""
        ...

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember: ...

    async def promote(self, member_id: int, *, timeout_s: float) -> None: ...

    async def remove(self, member_id: int, *, timeout_s: float) -> None: ...

    async def update_peer_urls(self, member_id: int, urls: Sequence[str], *, timeout_s: float) -> None: ...

    async def move_leader(self, member_id: int, *, timeout_s: float) -> None:
        """Only the leader obeys; the others raise EtcdRefused, `etcdserver: not leader`."""
        ...

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        """Of what was there at `revision`; 0 is the newest that this member has."""
        ...

    async def read_keyspace_size(self, revision: int = 0, *, timeout_s: float) -> KeyspaceSize:
        """Of this member alone, at `revision`; 0 is the newest that it has."""
        ...

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        """The cluster's alarms, in the words of MemberSeen. Costs a raft entry: poll status() instead."""
        ...

    async def disarm(self, *, timeout_s: float) -> tuple[str, ...]:
        """Takes back every alarm there is, each member's own (rule 70); tells which they were."""
        ...

    async def defragment(self, *, timeout_s: float) -> None:
        """Blocks the member meanwhile, and goes on there after EtcdTimeout (rules 73, 74)."""
        ...

    def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """The member's database; the last 32 bytes are the SHA-256 of the rest (rule 54).

        `timeout_s` is the longest silence between two chunks. It holds a connection and a thread: `aclosing` lets go.
        """
        ...

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        """The cluster's version. `version` is the minor to go down to, like 3.5; empty for `cancel`."""
        ...

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        """Whether etcd's own users and roles are in force."""
        ...

    async def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        ...
