"""The API of a real member over gRPC, with one channel (channel.py) for each member.

Only the write of a health proof is repeated here, since a change that timed out may have been made.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from etcdup.core.etcd.alarms import alarm_text
from etcdup.core.etcd.keys import PresentKey, end_of_prefix
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.remote.etcd.answers import listed_member, listed_members, member_seen
from etcdup.remote.etcd.channel import Channel, import_grpc
from etcdup.remote.etcd.client import (
    Access,
    Credentials,
    DowngradeAction,
    EtcdClient,
    GuardedPut,
    KeyspaceSize,
    KvHash,
)
from etcdup.remote.etcd.errors import (
    AuthRequired,
    EtcdInternalError,
    EtcdRefused,
    EtcdRpcError,
    EtcdTimeout,
    EtcdUnavailable,
    LearnerUnsupported,
    NoLeader,
)

if TYPE_CHECKING:
    # At run time import_grpc sets this name.
    from etcdup.remote.etcd.grpc_library import pb  # noqa: TC004

__all__ = ["Access", "Credentials", "DowngradeAction", "Etcd", "EtcdClient", "KvHash"]

# A health proof starts attempts at these shares of its time. Earlier attempts continue, and may still succeed.
_ATTEMPTS_AT = (0.0, 0.2, 0.4)
_LEADERLESS_PAUSE_S = 0.05

_NO_REVISION = 1 << 62


class Etcd:
    """One member, over gRPC. Create it inside a running event loop; it connects with the first call.

    `name` is the name of the member in cluster.yaml. `target` is `host:port`, mostly a port that is forwarded to this
    machine. `server_name` is the address or name that the certificate of the member must contain. `access` is the user
    as which the client logs in; without it, the user is the common name of the certificate.
    """

    def __init__(
        self,
        name: str,
        target: str,
        server_name: str,
        credentials: Credentials,
        access: Access | None = None,
    ) -> None:
        import_grpc(globals())
        self.name = name
        self._channel = channel = Channel(name, target, server_name, credentials, access)
        self._call, self._call_freely = channel.call, channel.call_freely
        self._kv, self._lease, self._cluster = channel.kv, channel.lease, channel.cluster
        self._maintenance, self._auth, self._login = channel.maintenance, channel.auth, channel.login

    async def close(self) -> None:
        await self._channel.close()

    async def status(self, *, timeout_s: float) -> MemberSeen:
        listed = await self._read_own_list(timeout_s)
        response = await self._call_freely(self._maintenance.Status, pb.StatusRequest(), timeout_s)
        return member_seen(self.name, response, listed)

    async def _read_own_list(self, timeout_s: float) -> tuple[ListedMember, ...]:
        """Return the member list of this member. Call it before Status: a Status makes a member panic that was removed
        and has not stopped yet, "failed to find local ID in cluster members" (observed with 3.6.14)."""
        request = pb.MemberListRequest(linearizable=False)
        try:
            response = await self._call_freely(self._cluster.MemberList, request, timeout_s)
        except LearnerUnsupported:
            return ()
        listed = listed_members(self.name, response)
        if response.header.member_id not in {member.member_id for member in listed}:
            raise EtcdUnavailable(self.name, "the member was removed from the cluster, and stops by itself")
        return listed

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        """Make several attempts, of which the first that succeeds counts. A write that the member forwards to a leader
        which has just stopped gets no answer, even after an election."""
        ends = asyncio.get_running_loop().time() + timeout_s
        attempts = [
            asyncio.create_task(self._attempt(key, value, share * timeout_s, ends)) for share in _ATTEMPTS_AT
        ]
        failed: list[EtcdRpcError] = []
        try:
            for attempt in asyncio.as_completed(attempts):
                try:
                    return await attempt
                except (EtcdTimeout, NoLeader) as error:
                    failed.append(error)
            raise failed[0]
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def _attempt(self, key: bytes, value: bytes, after_s: float, ends: float) -> None:
        """Make one attempt of a health proof. Without a leader it is repeated: one may be elected in time."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(after_s)
        while True:
            try:
                return await self._prove_once(key, value, timeout_s=ends - loop.time())
            except NoLeader:
                if loop.time() + _LEADERLESS_PAUSE_S > ends:
                    raise
                await asyncio.sleep(_LEADERLESS_PAUSE_S)

    async def _prove_once(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        ends = loop.time() + timeout_s
        put = await self._call(self._kv.Put, pb.PutRequest(key=key, value=value), timeout_s)
        found = await self._call(self._kv.Range, pb.RangeRequest(key=key), max(ends - loop.time(), 0.001))
        # Another health proof may have written the key since: a later write proves the same.
        seen = found.kvs and (found.kvs[0].mod_revision > put.header.revision or found.kvs[0].value == value)
        if not seen:
            raise EtcdInternalError(self.name, "a linearizable read did not return the write before it")

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        request = pb.RangeRequest(key=key, serializable=not linearizable)
        found = await self._call(self._kv.Range, request, timeout_s)
        return found.kvs[0].value if found.kvs else None

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        await self._call(self._kv.Put, pb.PutRequest(key=key, value=value), timeout_s)

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        response = await self._call(self._kv.DeleteRange, pb.DeleteRangeRequest(key=key), timeout_s)
        return response.deleted > 0

    async def read_keys(
        self, keys: Sequence[bytes], revision: int = 0, *, timeout_s: float
    ) -> tuple[PresentKey | None, ...]:
        reads = [pb.RequestOp(request_range=pb.RangeRequest(key=key, revision=revision)) for key in keys]
        answer = await self._call(self._kv.Txn, pb.TxnRequest(success=reads), timeout_s)
        found = [each.response_range.kvs for each in answer.responses]
        if [len(kvs) <= 1 for kvs in found] != [True] * len(keys):
            raise EtcdInternalError(self.name, "the answer does not have the requested keys")
        return tuple(
            PresentKey(kvs[0].mod_revision, kvs[0].value, kvs[0].lease) if kvs else None for kvs in found
        )

    async def count_keys(self, prefix: bytes, *, timeout_s: float) -> KeyspaceSize:
        request = pb.RangeRequest(key=prefix or b"\0", range_end=end_of_prefix(prefix), count_only=True)
        # The revision of the header may be later than that of the count.
        request.revision = (await self._call(self._kv.Range, request, timeout_s)).header.revision
        counted = await self._call(self._kv.Range, request, timeout_s)
        return KeyspaceSize(request.revision, max(counted.count, 0))

    async def put_guarded(self, puts: Sequence[GuardedPut], *, timeout_s: float) -> bool:
        request = pb.TxnRequest(
            compare=[
                pb.Compare(
                    key=each.key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=each.revision
                )
                for each in puts
            ],
            success=[
                pb.RequestOp(request_put=pb.PutRequest(key=each.key, value=each.value)) for each in puts
            ],
        )
        return (await self._call(self._kv.Txn, request, timeout_s)).succeeded

    async def leases(self, *, timeout_s: float) -> tuple[int, ...]:
        response = await self._call(self._lease.LeaseLeases, pb.LeaseLeasesRequest(), timeout_s)
        return tuple(lease.ID for lease in response.leases)

    async def revoke_leases(self, leases: Sequence[int], *, timeout_s: float) -> None:
        await asyncio.gather(*(self._revoke(lease, timeout_s) for lease in leases))

    async def _revoke(self, lease: int, timeout_s: float) -> None:
        try:
            await self._call(self._lease.LeaseRevoke, pb.LeaseRevokeRequest(ID=lease), timeout_s)
        except EtcdRefused as refused:
            if "requested lease not found" not in refused.message:
                raise

    async def revision(self, *, timeout_s: float) -> int:
        """The store's revision, by a linearizable read."""
        request = pb.RangeRequest(key=b"\0", count_only=True)
        return (await self._call(self._kv.Range, request, timeout_s)).header.revision

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Compact the history before `revision`; return when its space is free in the database (rule 70)."""
        request = pb.CompactionRequest(revision=revision, physical=True)
        await self._call(self._kv.Compact, request, timeout_s)

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        request = pb.MemberListRequest(linearizable=linearizable)
        return listed_members(self.name, await self._call(self._cluster.MemberList, request, timeout_s))

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember:
        request = pb.MemberAddRequest(peerURLs=peer_urls, isLearner=True)
        added = await self._call(self._cluster.MemberAdd, request, timeout_s)
        return listed_member(self.name, added.member)

    async def promote(self, member_id: int, *, timeout_s: float) -> None:
        await self._call(self._cluster.MemberPromote, pb.MemberPromoteRequest(ID=member_id), timeout_s)

    async def remove(self, member_id: int, *, timeout_s: float) -> None:
        await self._call(self._cluster.MemberRemove, pb.MemberRemoveRequest(ID=member_id), timeout_s)

    async def update_peer_urls(self, member_id: int, urls: Sequence[str], *, timeout_s: float) -> None:
        request = pb.MemberUpdateRequest(ID=member_id, peerURLs=urls)
        await self._call(self._cluster.MemberUpdate, request, timeout_s)

    async def move_leader(self, member_id: int, *, timeout_s: float) -> None:
        await self._call(self._maintenance.MoveLeader, pb.MoveLeaderRequest(targetID=member_id), timeout_s)

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        response = await self._call(self._maintenance.HashKV, pb.HashKVRequest(revision=revision), timeout_s)
        hashed = response.hash_revision or revision or response.header.revision  # 3.6 and later return it.
        return KvHash(response.hash, response.compact_revision, hashed)

    async def read_keyspace_size(self, revision: int = 0, *, timeout_s: float) -> KeyspaceSize:
        request = pb.RangeRequest(
            key=b"\0", range_end=b"\0", revision=revision, count_only=True, serializable=True
        )
        counted = await self._call(self._kv.Range, request, timeout_s)
        if revision == 0:  # The revision of the header may be later than that of the count.
            return await self.read_keyspace_size(counted.header.revision, timeout_s=timeout_s)
        return KeyspaceSize(revision, counted.count)

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        raised = await self._alarms(timeout_s)
        return tuple(alarm_text(pb.AlarmType.Name(alarm.alarm), alarm.memberID) for alarm in raised)

    async def disarm(self, kind: str, *, timeout_s: float) -> tuple[str, ...]:
        raised = [each for each in await self._alarms(timeout_s) if pb.AlarmType.Name(each.alarm) == kind]
        for alarm in raised:
            request = pb.AlarmRequest(
                action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
            )
            await self._call(self._maintenance.Alarm, request, timeout_s)
        return tuple(alarm_text(pb.AlarmType.Name(alarm.alarm), alarm.memberID) for alarm in raised)

    async def _alarms(self, timeout_s: float) -> "list[pb.AlarmMember]":
        request = pb.AlarmRequest(action=pb.AlarmRequest.GET)
        return list((await self._call(self._maintenance.Alarm, request, timeout_s)).alarms)

    async def defragment(self, *, timeout_s: float) -> None:
        await self._call(self._maintenance.Defragment, pb.DefragmentRequest(), timeout_s)

    async def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        if self._login is not None:  # A stream is not repeated, so the login comes first.
            await self.refused_access(timeout_s=timeout_s)
        async with aclosing(self._channel.snapshot(timeout_s)) as pieces:
            async for piece in pieces:
                yield piece

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        kinds = pb.DowngradeRequest.DowngradeAction
        request = pb.DowngradeRequest(action=kinds.Value(action.upper()), version=version)
        return (await self._call(self._maintenance.Downgrade, request, timeout_s)).version

    async def refused_access(self, *, timeout_s: float) -> str:
        """Request the hash at a revision that does not exist: etcd checks the role root first, and computes nothing.

        A login comes first, also if the certificate is for a user with this role: `etcd.access` must work.
        """
        try:
            if self._login is not None and not self._login.token:
                await self._login.renew(AuthRequired(self.name, "there is no token"), "")
            await self._call(self._maintenance.HashKV, pb.HashKVRequest(revision=_NO_REVISION), timeout_s)
        except AuthRequired as refused:
            return refused.message.removeprefix(f"{self.name}: ")
        except EtcdRpcError:
            return ""
        return ""

    async def user_roles(self, name: str, *, timeout_s: float) -> tuple[str, ...] | None:
        try:
            return tuple(
                (await self._call(self._auth.UserGet, pb.AuthUserGetRequest(name=name), timeout_s)).roles
            )
        except AuthRequired as refused:
            if "user name not found" not in refused.message:
                raise
            return None

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        return await self._channel.is_auth_enabled(timeout_s=timeout_s)
