"""etcd as far as etcdup can tell: bootstrap by token and member list, quorum, a leader, keys, restarts.

It keeps etcd's own refusals where etcdup relies on them: a member without data forms a cluster only with
`new`, and not one that has it already; nothing is written without a quorum.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etcdup.core.observed import ListedMember, MemberSeen
from etcdup.core.version import parse_version
from etcdup.remote.etcd_client import DowngradeAction, KvHash
from etcdup.remote.etcd_errors import EtcdRefused, EtcdTimeout, EtcdUnavailable

if TYPE_CHECKING:
    from etcdup.remote.fake import FakeMachine


@dataclass
class FakeProcess:
    """A running etcd: what it was started with."""

    exe: str
    environment: dict[str, str]
    started_at: float


@dataclass
class Data:
    """What a member directory holds: the member's identity. Kept as the content of `member/wal/0.wal`."""

    cluster: str
    name: str

    def encode(self) -> bytes:
        return f"{self.cluster}\n{self.name}".encode()

    @classmethod
    def decode(cls, content: bytes) -> "Data":
        cluster, name = content.decode().split("\n")
        return cls(cluster, name)


@dataclass
class FakeCluster:
    """What all members of one cluster agree on, by cluster: the members, who published, the leader, the keys."""

    lists: dict[str, dict[str, str]] = field(default_factory=dict)
    published: dict[str, set[str]] = field(default_factory=dict)
    leaders: dict[str, str] = field(default_factory=dict)
    keys: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    index: dict[str, int] = field(default_factory=dict)
    term: dict[str, int] = field(default_factory=dict)

    def bootstrap(self, token: str, initial: str, name: str) -> str:
        """The cluster's identity, from token and members alone, as etcd derives it (rule 4).

        Raises ValueError with etcd's words where this member was part of it before (rule 7).
        """
        cluster = hashlib.sha256(f"{token}/{initial}".encode()).hexdigest()[:16]
        if name in self.published.get(cluster, set()):
            raise ValueError(f"member {name} has already been bootstrapped")
        self.lists.setdefault(cluster, dict(part.split("=", 1) for part in initial.split(",")))
        return cluster


def number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)


class FakeEtcd:
    """The EtcdClient of one member."""

    def __init__(self, machine: "FakeMachine", data_dir: str) -> None:
        self.name = machine.name
        self._machine = machine
        self._data_dir = data_dir

    @property
    def _state(self) -> FakeCluster:
        return self._machine.network.etcd

    def _data(self, machine: "FakeMachine") -> Data | None:
        wal = machine.file(f"{self._data_dir}/member/wal/0.wal")
        if machine.process is None or wal is None or wal.content is None:
            return None
        return Data.decode(wal.content)

    def _live(self, cluster: str) -> list[str]:
        found = []
        for machine in self._machine.network.machines.values():
            data = self._data(machine)
            if data is not None and data.cluster == cluster:
                found.append(data.name)
        return sorted(found)

    async def _here(self) -> Data:
        from etcdup.remote.fake import Killed

        await asyncio.sleep(0)
        if self._machine.network.killed:
            raise Killed("etcdup is dead already")
        data = self._data(self._machine)
        if data is None or not self._machine.reachable:
            raise EtcdUnavailable(self.name, "connection refused")
        return data

    def _leader(self, cluster: str) -> str:
        """The leader if there is a quorum; the first of the living is elected where there is none."""
        members, live = self._state.lists[cluster], self._live(cluster)
        if len(live) < len(members) // 2 + 1:
            return ""
        if self._state.leaders.get(cluster) not in live:
            self._state.leaders[cluster] = live[0]
            self._state.term[cluster] = self._state.term.get(cluster, 1) + 1
        self._state.published.setdefault(cluster, set()).update(live)
        return self._state.leaders[cluster]

    async def status(self, *, timeout_s: float) -> MemberSeen:
        data = await self._here()
        assert self._machine.process is not None
        leader = self._leader(data.cluster)
        index = self._state.index.get(data.cluster, 4)
        return MemberSeen(
            member_id=number(data.cluster + data.name),
            cluster_id=number(data.cluster),
            version=parse_version(self._machine.process.exe.split("/")[-2]),
            leader_id=number(data.cluster + leader) if leader else 0,
            raft_term=self._state.term.get(data.cluster, 1),
            raft_index=index,
            applied_index=index,
            db_size=20_480,
            db_in_use=16_384,
            is_learner=False,
            members=await self.members(timeout_s=timeout_s),
            errors=() if leader else ("etcdserver: no leader",),
        )

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        data = await self._here()
        members = self._state.lists[data.cluster]
        return tuple(
            ListedMember(number(data.cluster + name), name, (url,), (url.replace("2380", "2379"),), False)
            for name, url in sorted(members.items())
        )

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        await self.put(key, value, timeout_s=timeout_s)

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        data = await self._here()
        if not self._leader(data.cluster):
            await self._machine.network.sleep(timeout_s)
            raise EtcdTimeout(self.name, f"no answer within {timeout_s:.0f} s")
        self._state.keys.setdefault(data.cluster, {})[key] = value
        self._state.index[data.cluster] = self._state.index.get(data.cluster, 4) + 1
        self._machine.network.count(self.name, ("etcd", "put"))

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        data = await self._here()
        if linearizable and not self._leader(data.cluster):
            raise EtcdTimeout(self.name, f"no answer within {timeout_s:.0f} s")
        return self._state.keys.get(data.cluster, {}).get(key)

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        data = await self._here()
        return self._state.keys.get(data.cluster, {}).pop(key, None) is not None

    async def move_leader(self, member_id: int, *, timeout_s: float) -> None:
        data = await self._here()
        if self._leader(data.cluster) != data.name:
            raise EtcdRefused(self.name, "etcdserver: not leader")
        for name in self._live(data.cluster):
            if number(data.cluster + name) == member_id:
                self._state.leaders[data.cluster] = name
                self._state.term[data.cluster] += 1
        self._machine.network.count(self.name, ("etcd", "move-leader"))

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        data = await self._here()
        content = repr(sorted(self._state.keys.get(data.cluster, {}).items()))
        return KvHash(number(content), 0, self._state.index.get(data.cluster, 4))

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        await self._here()
        return ()

    async def disarm(self, *, timeout_s: float) -> tuple[str, ...]:
        return await self.alarms(timeout_s=timeout_s)

    async def auth_enabled(self, *, timeout_s: float) -> bool:
        await self._here()
        return False

    async def close(self) -> None:
        """Nothing is held open."""

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember:
        raise EtcdRefused(self.name, "the fake does not change members")

    async def promote(self, member_id: int, *, timeout_s: float) -> None:
        raise EtcdRefused(self.name, "the fake does not change members")

    async def remove(self, member_id: int, *, timeout_s: float) -> None:
        raise EtcdRefused(self.name, "the fake does not change members")

    async def update_peer_urls(self, member_id: int, urls: Sequence[str], *, timeout_s: float) -> None:
        raise EtcdRefused(self.name, "the fake does not change members")

    async def defragment(self, *, timeout_s: float) -> None:
        raise EtcdRefused(self.name, "the fake has no database to defragment")

    async def snapshot(self, *, timeout_s: float) -> AsyncIterator[bytes]:
        raise EtcdRefused(self.name, "the fake has no database to copy")
        yield b""

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        raise EtcdRefused(self.name, "the fake does not change versions")
