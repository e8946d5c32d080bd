"""The EtcdClient of one fake member. Its errors have the texts of etcd where etcdup depends on them.

Each call that changes something is counted as a command after the change: tests kill etcdup there too.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence

from etcdup.core.etcd.keys import PresentKey
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.spec.version import Version
from etcdup.remote.etcd.client import Credentials, DowngradeAction, GuardedPut, KeyspaceSize, KvHash
from etcdup.remote.etcd.errors import EtcdTimeout, EtcdUnavailable, translate
from etcdup.testing.cluster import FakeCluster, FakeMember, FakeRefusal, Series, stable_id
from etcdup.testing.etcd_connection import FakeConnection
from etcdup.testing.machine import CLOSED, FakeMachine, FakeProcess
from etcdup.testing.process import (
    append_entry,
    is_blocked,
    is_in_sync,
    leader_of,
    reached_ids,
    running_in,
    steady_voters,
)

PAGE = 512
# The default of etcd.
MAX_TXN_OPS = 128


class FakeEtcd(FakeConnection):
    """The EtcdClient of the member that runs on a machine."""

    async def status(self, *, timeout_s: float) -> MemberSeen:
        process = await self._require_process(timeout_s, learners=True, anyone=True)
        await self._require_open_database(process, timeout_s)  # Status reads the version of the storage.
        cluster, leader = process.cluster, leader_of(self._network, self._machine)
        learner = process.member is not None and process.member.is_learner
        newer = process.version >= (3, 6, 0)
        return MemberSeen(
            member_id=process.member_id,
            cluster_id=cluster.cluster_id,
            version=process.version,
            leader_id=leader,
            raft_term=cluster.term,
            raft_index=cluster.index,
            applied_index=cluster.index,
            db_size=cluster.size_of(process.member_id),
            db_in_use=cluster.db_in_use,
            is_learner=learner,
            members=() if learner else _listed(cluster),
            alarms=cluster.alarms,
            errors=() if leader else ("etcdserver: no leader",),
            storage_version=_shown(cluster.version) if newer else "",
            downgrade_to=_shown(cluster.downgrade_to) if newer else "",
            db_quota=_quota(process) if newer else 0,
            revision=cluster.index,
        )

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        process = await self._require_process(timeout_s, anyone=True)
        if linearizable and process.version >= (3, 5, 0):
            await self._require_quorum(timeout_s)
        return _listed(process.cluster)

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        await self.put(key, value, timeout_s=timeout_s)

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        cluster = await self._require_writable(timeout_s)
        cluster.put(key, value)
        self._record_change("put")

    async def put_guarded(self, puts: Sequence[GuardedPut], *, timeout_s: float) -> bool:
        cluster = await self._require_writable(timeout_s)
        if len(puts) > MAX_TXN_OPS:
            raise self._as_rpc_error(FakeRefusal("too many operations in txn request", "INVALID_ARGUMENT"))
        is_met = all(cluster.revision_of(each.key) == each.revision for each in puts)
        for each in puts if is_met else ():
            cluster.put(each.key, each.value)
        self._record_change("txn")
        return is_met

    async def read_keys(
        self, keys: Sequence[bytes], revision: int = 0, *, timeout_s: float
    ) -> tuple[PresentKey | None, ...]:
        cluster = (await self._require_process(timeout_s)).cluster
        await self._require_quorum(timeout_s)
        return tuple(
            PresentKey(cluster.revision_of(key), cluster.keys[key], cluster.lease_of(key))
            if key in cluster.keys
            else None
            for key in keys
        )

    async def count_keys(self, prefix: bytes, *, timeout_s: float) -> KeyspaceSize:
        cluster = (await self._require_process(timeout_s)).cluster
        await self._require_quorum(timeout_s)
        return KeyspaceSize(cluster.index, sum(key.startswith(prefix) for key in cluster.keys))

    async def _require_writable(self, timeout_s: float) -> FakeCluster:
        """Return the cluster if it accepts writes. A write that does not fit raises NOSPACE."""
        process = await self._require_process(timeout_s, anyone=True)
        await self._require_open_database(process, timeout_s)
        if process.cluster.denied:
            await self._require_quorum(timeout_s)
            self._require_access(process)
        cluster, alarm = process.cluster, f"NOSPACE on member {process.member_id:x}"
        # Each write that does not fit raises the alarm again (rule 70).
        if cluster.size_of(process.member_id) >= _quota(process):
            cluster.alarms = tuple(dict.fromkeys((*cluster.alarms, alarm)))
        if any(alarm.startswith("CORRUPT") for alarm in cluster.alarms):
            raise self._as_rpc_error(FakeRefusal("corrupt cluster", "DATA_LOSS"))
        if any(alarm.startswith("NOSPACE") for alarm in cluster.alarms):
            raise self._as_rpc_error(FakeRefusal("mvcc: database space exceeded", "RESOURCE_EXHAUSTED"))
        await self._require_quorum(timeout_s)
        return cluster

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        process = await self._require_process(timeout_s, learners=not linearizable, anyone=True)
        await self._require_open_database(process, timeout_s)
        if linearizable:
            await self._require_quorum(timeout_s)
        self._require_access(process)  # etcd checks the user after it has confirmed the quorum.
        return process.cluster.keys.get(key)

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        cluster = (await self._require_process(timeout_s)).cluster
        await self._require_quorum(timeout_s)
        was_there = cluster.keys.pop(key, None) is not None
        self._record_change("delete")
        return was_there

    async def leases(self, *, timeout_s: float) -> tuple[int, ...]:
        return tuple((await self._require_process(timeout_s)).cluster.leases)

    async def revoke_leases(self, leases: Sequence[int], *, timeout_s: float) -> None:
        cluster = (await self._require_process(timeout_s)).cluster
        await self._require_quorum(timeout_s)
        for lease in leases:
            cluster.revoke(lease)
        self._record_change("lease-revoke")

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember:
        process = await self._require_process(timeout_s)
        voters = len(process.cluster.voters)
        relaxed = process.version >= (3, 6, 11) or (3, 5, 30) <= process.version < (3, 6, 0)
        # These releases need a quorum of the changed cluster (rule 28). Earlier releases need all voters.
        needed = (voters + 1) // 2 + 1 if relaxed and voters > 1 else voters
        if len(steady_voters(self._network, self._machine)) < needed:
            raise self._as_rpc_error(FakeRefusal("unhealthy cluster"))
        await self._require_quorum(timeout_s)
        added = self._apply_change(lambda: process.cluster.add_learner(peer_urls))
        self._record_change("member-add")
        return _member(added)

    async def promote(self, member_id: int, *, timeout_s: float) -> None:
        process = await self._require_process(timeout_s)
        if not leader_of(self._network, self._machine):
            raise self._as_rpc_error(FakeRefusal("no leader", "UNAVAILABLE"))
        in_sync = is_in_sync(self._network, self._machine, member_id)
        self._apply_change(lambda: process.cluster.promote(member_id, in_sync=in_sync))
        self._record_change("member-promote")

    async def remove(self, member_id: int, *, timeout_s: float) -> None:
        """Remove a member. A running voter is removed only if the connected voters left are a quorum (rule 35)."""
        cluster = (await self._require_process(timeout_s)).cluster
        if member_id in cluster.voters:
            if cluster.not_enough_started(member_id):
                text = "re-configuration failed due to not enough started members"
                raise self._as_rpc_error(FakeRefusal(text, "UNKNOWN"))
            steady = steady_voters(self._network, self._machine)
            if member_id in steady and len(steady) - 1 < 1 + (len(cluster.voters) - 1) // 2:
                raise self._as_rpc_error(FakeRefusal("unhealthy cluster"))
        await self._require_quorum(timeout_s)
        self._apply_change(lambda: cluster.remove(member_id))
        self._record_change("member-remove")

    async def update_peer_urls(self, member_id: int, urls: Sequence[str], *, timeout_s: float) -> None:
        process = await self._require_process(timeout_s)
        await self._require_quorum(timeout_s)
        fixed = process.version >= (3, 6, 12) or (3, 5, 31) <= process.version < (3, 6, 0)
        self._apply_change(lambda: process.cluster.update(member_id, urls, promotes=not fixed))
        self._record_change("member-update")

    async def move_leader(self, member_id: int, *, timeout_s: float) -> None:
        process = await self._require_process(timeout_s)
        if leader_of(self._network, self._machine) != process.member_id:
            raise self._as_rpc_error(FakeRefusal("not leader"))
        if member_id not in process.cluster.voters:
            raise self._as_rpc_error(FakeRefusal("bad leader transferee"))
        if member_id not in reached_ids(self._network, self._machine):
            await self._network.sleep(timeout_s)
            raise EtcdTimeout(self.name, f"no answer within {timeout_s:g} s")
        process.cluster.leader = member_id
        process.cluster.term += 1
        self._record_change("move-leader")

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        process = await self._require_process(timeout_s)
        cluster = process.cluster
        whole = stable_id(repr(sorted(cluster.keys.items()))) % 2**32
        return KvHash(cluster.hashes.get(process.member_id, whole), cluster.compacted, cluster.index)

    async def read_keyspace_size(self, revision: int = 0, *, timeout_s: float) -> KeyspaceSize:
        cluster = (await self._require_process(timeout_s)).cluster
        return KeyspaceSize(revision or cluster.index, len(cluster.keys))

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        cluster = (await self._require_process(timeout_s)).cluster
        await self._require_quorum(timeout_s)
        append_entry(self._network, cluster)
        return cluster.alarms

    async def disarm(self, kind: str, *, timeout_s: float) -> tuple[str, ...]:
        raised = await self.alarms(timeout_s=timeout_s)
        disarmed = tuple(alarm for alarm in raised if alarm.startswith(kind))
        cluster = (await self._require_process(timeout_s)).cluster
        cluster.alarms = tuple(alarm for alarm in raised if alarm not in disarmed)
        self._record_change("disarm")
        return disarmed

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        return (await self._require_process(timeout_s, anyone=True)).cluster.auth

    async def refused_access(self, *, timeout_s: float) -> str:
        return (await self._require_process(timeout_s, anyone=True)).cluster.denied

    async def user_roles(self, name: str, *, timeout_s: float) -> tuple[str, ...] | None:
        return (await self._require_process(timeout_s)).cluster.roles.get(name)

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        process = await self._require_process(timeout_s)
        await self._require_open_database(process, timeout_s)
        await self._require_quorum(timeout_s)
        self._record_change("compact")
        is_new = process.cluster.compact(revision)
        left_s = process.cluster.compacts_until - self._network.now()
        if left_s > 0:
            await self._network.sleep(min(left_s, timeout_s))
        if left_s > timeout_s:
            raise EtcdTimeout(self.name, f"no answer within {timeout_s:g} s")
        if not is_new:
            refused = FakeRefusal("mvcc: required revision has been compacted", "OUT_OF_RANGE")
            raise self._as_rpc_error(refused)

    async def defragment(self, *, timeout_s: float) -> None:
        """Begin a defragmentation, which continues without this client."""
        process, network = await self._require_process(timeout_s), self._network
        process.cluster.was_blocked_twice |= any(map(is_blocked, running_in(network, process.cluster)))
        process.blocked_until = network.now() + self._machine.defrag_s
        self._record_change("defragment")
        await self._require_open_database(process, timeout_s)

    async def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the keys in whole pages, as a real database has (rule 54)."""
        cluster = (await self._require_process(timeout_s, learners=True)).cluster
        content = cluster.dump()
        database = content.ljust(-(-max(len(content), 1) // PAGE) * PAGE, b"\0")
        for start in range(0, len(database), PAGE):
            yield database[start : start + PAGE]
        yield hashlib.sha256(database).digest()

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        process = await self._require_process(timeout_s)
        cluster = process.cluster
        if process.version < (3, 5, 0):
            raise translate(self.name, "UNIMPLEMENTED", "unknown method Downgrade", timeout_s)
        if action != "cancel":
            self._apply_change(lambda: cluster.validate_downgrade(_series(version)))
        shown = ".".join(str(part) for part in cluster.version or ())
        if action == "validate":
            return shown
        await self._require_quorum(timeout_s)
        if process.version < (3, 6, 0):  # 3.5 has the call, but no member does the downgrade.
            await self._time_out(timeout_s)
        cluster.downgrade_to = _series(version) if action == "enable" else None
        self._record_change(f"downgrade-{action}")
        return shown

    async def close(self) -> None:
        """Do nothing: there is no connection."""


class FakeClosedEtcd(FakeEtcd):
    """The EtcdClient of a member that only etcdup can reach. Its certificate is that of the member's start.

    It is for `root`, which may do everything if the authentication is enabled.
    """

    reaches_closed = True

    def __init__(self, machine: FakeMachine, credentials: Credentials) -> None:
        super().__init__(machine)
        self._credentials = credentials

    async def _require_process(
        self, timeout_s: float, *, learners: bool = False, anyone: bool = False
    ) -> FakeProcess:
        cert = self._machine.file(f"{CLOSED}/cert.pem")
        if cert is None or cert.content != self._credentials.cert:
            raise EtcdUnavailable(self.name, "the certificate of the member is not the expected one")
        return await super()._require_process(timeout_s, learners=learners, anyone=True)


def _listed(cluster: FakeCluster) -> tuple[ListedMember, ...]:
    return tuple(_member(member) for _, member in sorted(cluster.members.items()))


def _member(member: FakeMember) -> ListedMember:
    return ListedMember(
        member.member_id, member.name, member.peer_urls, member.client_urls, member.is_learner
    )


def _quota(process: FakeProcess) -> int:
    return int(process.environment.get("ETCD_QUOTA_BACKEND_BYTES", 2 * 1024**3))


def _series(version: str) -> Series:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


def _shown(series: Series | None) -> str:
    return str(Version(*series, 0)) if series else ""
