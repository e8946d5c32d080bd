"""The interface to the API of a member: `grpc_client.py` calls a real member, `testing/etcd_client.py` is a fake."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from etcdup.core.etcd.keys import PresentKey
from etcdup.core.observed.member import ListedMember, MemberSeen

DowngradeAction = Literal["validate", "enable", "cancel"]


@dataclass(frozen=True)
class Credentials:
    """The CA file, the client certificate and the key of etcdup, as PEM. They are never shown."""

    ca: bytes = field(repr=False)
    cert: bytes = field(repr=False)
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Access:
    """The user of etcd as which etcdup logs in. `password` returns the password, or raises EtcdupError."""

    user: str
    password: Callable[[], Awaitable[str]] = field(repr=False)


class KvHash(NamedTuple):
    """The hash of the keys and values of a member.

    Hashes are comparable if `compact_revision` and `hash_revision` are the same (rule 81).
    """

    hash: int
    compact_revision: int
    hash_revision: int


class KeyspaceSize(NamedTuple):
    """A revision of the store of a member, and the number of keys at this revision."""

    revision: int
    keys: int


class GuardedPut(NamedTuple):
    """A key to write if it still has this revision; 0 if it must not exist."""

    key: bytes
    value: bytes
    revision: int


class EtcdClient(Protocol):
    """One member. Methods raise an EtcdRpcError (errors.py) when they fail, and no other error.

    A call that changes something is made once, except the write of `prove`. After EtcdTimeout the caller must observe
    the cluster before it tries again.
    """

    name: str

    async def status(self, *, timeout_s: float) -> MemberSeen:
        """Return the status of the member, without a quorum. A learner has no member list to return: it is () then."""
        ...

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        """Write through this member, and return when a linearizable read has returned the value (rule 11).

        Without an answer the write is repeated: an election may have lost it.
        """
        ...

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        """Return the value, or None. A read that is not linearizable needs no quorum, and may be stale."""
        ...

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None: ...

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        """Delete a key. The result is whether the key existed."""
        ...

    async def read_keys(
        self, keys: Sequence[bytes], revision: int = 0, *, timeout_s: float
    ) -> tuple[PresentKey | None, ...]:
        """Return each of these keys at `revision`, None for a key that does not exist; 0 is the newest revision."""
        ...

    async def count_keys(self, prefix: bytes, *, timeout_s: float) -> KeyspaceSize:
        """Count the keys that begin with this prefix. It is a linearizable read."""
        ...

    async def put_guarded(self, puts: Sequence[GuardedPut], *, timeout_s: float) -> bool:
        """Write all of these keys in one transaction if each has its revision, and return whether they are written.

        A key that is written has no lease.
        """
        ...

    async def leases(self, *, timeout_s: float) -> tuple[int, ...]:
        """Return the IDs of all leases that this member has applied. No quorum is needed."""
        ...

    async def revoke_leases(self, leases: Sequence[int], *, timeout_s: float) -> None:
        """Revoke leases at the same time, and delete the keys on them. A lease that is gone counts as revoked."""
        ...

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        """Return the member list, by ID. A 3.4 member always returns its own list, which may be stale."""
        ...

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember: ...

    async def promote(self, member_id: int, *, timeout_s: float) -> None: ...

    async def remove(self, member_id: int, *, timeout_s: float) -> None: ...

    async def update_peer_urls(self, member_id: int, urls: Sequence[str], *, timeout_s: float) -> None: ...

    async def move_leader(self, member_id: int, *, timeout_s: float) -> None:
        """Transfer the leadership. Only the leader does it; others raise EtcdRefused, `etcdserver: not leader`."""
        ...

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        """Return the hash at `revision`; 0 is the newest revision of this member."""
        ...

    async def read_keyspace_size(self, revision: int = 0, *, timeout_s: float) -> KeyspaceSize:
        """Count the keys of this member at `revision`; 0 is its newest revision."""
        ...

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        """Return the alarms of the cluster, as in MemberSeen. It needs a raft entry, so poll status() instead."""
        ...

    async def disarm(self, kind: str, *, timeout_s: float) -> tuple[str, ...]:
        """Disarm the alarm of this kind on each member that raised it (rule 70), and return these alarms."""
        ...

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Remove the history before `revision`, and return when this member has removed it from its database.

        The other members remove it at the same time, each by itself. For a revision that was compacted before, wait
        until this member has ended that, and raise Compacted.
        """
        ...

    async def defragment(self, *, timeout_s: float) -> None:
        """Defragment the database. The member is blocked, and continues after EtcdTimeout (rules 73, 74)."""
        ...

    def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the database of the member; the last 32 bytes are the SHA-256 of the rest (rule 54).

        `timeout_s` is the longest time without a part of it. The generator holds a connection and a thread: use
        `aclosing`, which releases them.
        """
        ...

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        """Return the cluster version. `version` is the minor to downgrade to, for example 3.5; empty for `cancel`."""
        ...

    async def refused_access(self, *, timeout_s: float) -> str:
        """Return why etcd refuses this client what only an administrator may do, in the words of etcd.

        Return an empty text if etcd permits it: its users are not enabled, or the user of this client has the role
        root. It needs no quorum. Without an answer, the result is an empty text too.
        """
        ...

    async def user_roles(self, name: str, *, timeout_s: float) -> tuple[str, ...] | None:
        """Return the roles of a user of etcd, or None if there is no such user."""
        ...

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        """Return whether the authentication of etcd is enabled."""
        ...

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        ...
