"""A real member's API over gRPC, one channel a member.

Never one channel balanced over several: Status, Defragment and a proof are about a certain member. Nothing but the
write of a proof is repeated from here, since a change that timed out may have been made (libraries.md, j).
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from etcdup.core.observed.model import ListedMember, MemberSeen
from etcdup.core.spec.version import parse_version
from etcdup.remote.etcd.client import Credentials, DowngradeAction, EtcdClient, KeyspaceSize, KvHash
from etcdup.remote.etcd.errors import (
    AuthRequired,
    EtcdInternalError,
    EtcdRefused,
    EtcdRpcError,
    EtcdTimeout,
    EtcdUnavailable,
    LearnerUnsupported,
    NoLeader,
    translate,
)

if TYPE_CHECKING:
    # At run time _import_grpc sets these names.
    from etcdup.remote.etcd.grpc_library import grpc, pb, services  # noqa: TC004

__all__ = ["Credentials", "DowngradeAction", "Etcd", "EtcdClient", "KvHash"]

Request = TypeVar("Request")
Response = TypeVar("Response")

# After so much of a proof's time the same is tried again, while the attempts before may still come to their end.
_AGAIN_AFTER = (0.0, 0.2, 0.4)
_LEADERLESS_PAUSE_S = 0.05

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", -1),  # a range may be larger than the default of 4 MB
    ("grpc.initial_reconnect_backoff_ms", 100),  # a member that is starting is seen soon after it listens
    ("grpc.max_reconnect_backoff_ms", 100),  # no growing pauses: each would be added to every start
    ("grpc.min_reconnect_backoff_ms", 5000),  # in spite of its name: how long one attempt to connect may take
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    ("grpc.keepalive_time_ms", 10_000),  # etcd cuts off clients that ping more often than every 5 s
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # the operator's http_proxy is not for ports forwarded to this machine
    ("grpc.use_local_subchannel_pool", 1),  # a new client makes a new handshake (rule 17)
)

# An alarm among the errors of a Status. It may name no member (rule 82); 3.7 puts one or two spaces, at will.
_ALARM = re.compile(r"(?:memberID:(\d+)\s+)?alarm:(\w+)")


def _import_grpc() -> None:
    """Import grpc with the first client: `etcdup --help` does not need it, and the import takes 90 ms."""
    library = import_module("etcdup.remote.etcd.grpc_library")
    globals().update(grpc=library.grpc, pb=library.pb, services=library.services)


class Etcd:
    """One member, over gRPC. Made inside a running event loop; it connects with the first call.

    `name` is the member's in cluster.yaml; `target` is `host:port`, mostly a port forwarded to this machine;
    `server_name` is the address or name that the member's certificate must hold, whatever the target is.
    """

    def __init__(self, name: str, target: str, server_name: str, credentials: Credentials) -> None:
        _import_grpc()
        self.name = name
        self._target = target
        self._credentials = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
        self._options: list[tuple[str, int | str]] = [
            *_CHANNEL_OPTIONS,
            ("grpc.ssl_target_name_override", server_name),
        ]
        self._channel = grpc.aio.secure_channel(target, self._credentials, options=self._options)
        self._kv = services.KVStub(self._channel)
        self._cluster = services.ClusterStub(self._channel)
        self._maintenance = services.MaintenanceStub(self._channel)
        self._auth = services.AuthStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def status(self, *, timeout_s: float) -> MemberSeen:
        listed = await self._read_own_list(timeout_s)
        said = await self._call(self._maintenance.Status, pb.StatusRequest(), timeout_s)
        return _member_seen(said, listed)

    async def _read_own_list(self, timeout_s: float) -> tuple[ListedMember, ...]:
        """What this member knows, asked of it before its status: where it was removed, but has not stopped yet, a
        Status makes etcd panic, "failed to find local ID in cluster members" (seen with 3.6.14)."""
        request = pb.MemberListRequest(linearizable=False)
        try:
            said = await self._call(self._cluster.MemberList, request, timeout_s)
        except LearnerUnsupported:
            return ()
        listed = _listed_in(said)
        if said.header.member_id not in {member.member_id for member in listed}:
            raise EtcdUnavailable(self.name, "it was removed from the cluster, and ends by itself")
        return listed

    async def prove(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        """A write that its member hands to a leader who has just died gets no answer at all, whoever leads next. So
        it is made again beside the first, and the first that ends well counts."""
        ends = asyncio.get_running_loop().time() + timeout_s
        attempts = [
            asyncio.create_task(self._attempt(key, value, share * timeout_s, ends)) for share in _AGAIN_AFTER
        ]
        why: list[EtcdRpcError] = []
        try:
            for attempt in asyncio.as_completed(attempts):
                try:
                    return await attempt
                except (EtcdTimeout, NoLeader) as error:
                    why.append(error)
            raise why[0]
        finally:
            for task in attempts:
                task.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)

    async def _attempt(self, key: bytes, value: bytes, after_s: float, ends: float) -> None:
        """Of a proof. Where there is no leader, one may be elected in time."""
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
        # somebody else's proof may have written the same key since: seeing a later write proves the same
        seen = found.kvs and (found.kvs[0].mod_revision > put.header.revision or found.kvs[0].value == value)
        if not seen:
            raise EtcdInternalError(self.name, "a linearizable read did not see the write before it")

    async def get(self, key: bytes, *, linearizable: bool = True, timeout_s: float) -> bytes | None:
        request = pb.RangeRequest(key=key, serializable=not linearizable)
        found = await self._call(self._kv.Range, request, timeout_s)
        return found.kvs[0].value if found.kvs else None

    async def put(self, key: bytes, value: bytes, *, timeout_s: float) -> None:
        await self._call(self._kv.Put, pb.PutRequest(key=key, value=value), timeout_s)

    async def delete(self, key: bytes, *, timeout_s: float) -> bool:
        gone = await self._call(self._kv.DeleteRange, pb.DeleteRangeRequest(key=key), timeout_s)
        return gone.deleted > 0

    async def revision(self, *, timeout_s: float) -> int:
        """The store's revision, by a linearizable read."""
        request = pb.RangeRequest(key=b"\0", count_only=True)
        return (await self._call(self._kv.Range, request, timeout_s)).header.revision

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        """Forgets what was before `revision`; returns once that space can be used again (rule 70)."""
        request = pb.CompactionRequest(revision=revision, physical=True)
        await self._call(self._kv.Compact, request, timeout_s)

    async def members(self, *, linearizable: bool = True, timeout_s: float) -> tuple[ListedMember, ...]:
        request = pb.MemberListRequest(linearizable=linearizable)
        return _listed_in(await self._call(self._cluster.MemberList, request, timeout_s))

    async def add_learner(self, peer_urls: Sequence[str], *, timeout_s: float) -> ListedMember:
        request = pb.MemberAddRequest(peerURLs=peer_urls, isLearner=True)
        added = await self._call(self._cluster.MemberAdd, request, timeout_s)
        return _listed(added.member)

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
        said = await self._call(self._maintenance.HashKV, pb.HashKVRequest(revision=revision), timeout_s)
        hashed = said.hash_revision or revision or said.header.revision  # only from 3.6 on does it say so
        return KvHash(said.hash, said.compact_revision, hashed)

    async def read_keyspace_size(self, revision: int = 0, *, timeout_s: float) -> KeyspaceSize:
        request = pb.RangeRequest(
            key=b"\0", range_end=b"\0", revision=revision, count_only=True, serializable=True
        )
        counted = await self._call(self._kv.Range, request, timeout_s)
        if revision == 0:  # the header's revision may be a later one than the count's
            return await self.read_keyspace_size(counted.header.revision, timeout_s=timeout_s)
        return KeyspaceSize(revision, counted.count)

    async def alarms(self, *, timeout_s: float) -> tuple[str, ...]:
        raised = await self._alarms(timeout_s)
        return tuple(_alarm(pb.AlarmType.Name(alarm.alarm), alarm.memberID) for alarm in raised)

    async def disarm(self, *, timeout_s: float) -> tuple[str, ...]:
        raised = await self._alarms(timeout_s)
        for alarm in raised:
            request = pb.AlarmRequest(
                action=pb.AlarmRequest.DEACTIVATE, memberID=alarm.memberID, alarm=alarm.alarm
            )
            await self._call(self._maintenance.Alarm, request, timeout_s)
        return tuple(_alarm(pb.AlarmType.Name(alarm.alarm), alarm.memberID) for alarm in raised)

    async def _alarms(self, timeout_s: float) -> "list[pb.AlarmMember]":
        request = pb.AlarmRequest(action=pb.AlarmRequest.GET)
        return list((await self._call(self._maintenance.Alarm, request, timeout_s)).alarms)

    async def defragment(self, *, timeout_s: float) -> None:
        await self._call(self._maintenance.Defragment, pb.DefragmentRequest(), timeout_s)

    async def snapshot(self, *, timeout_s: float) -> AsyncGenerator[bytes, None]:
        from etcdup.remote.etcd.snapshot_stream import stream_snapshot

        channel = grpc.secure_channel(self._target, self._credentials, self._options)
        async with aclosing(stream_snapshot(self.name, channel, timeout_s=timeout_s)) as pieces:
            async for piece in pieces:
                yield piece

    async def downgrade(self, action: DowngradeAction, version: str, *, timeout_s: float) -> str:
        kinds = pb.DowngradeRequest.DowngradeAction
        request = pb.DowngradeRequest(action=kinds.Value(action.upper()), version=version)
        return (await self._call(self._maintenance.Downgrade, request, timeout_s)).version

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        """By a login without a name, which no version lets in: 3.4 has no AuthStatus."""
        try:
            await self._call(self._auth.Authenticate, pb.AuthenticateRequest(), timeout_s)
        except AuthRequired:
            return True
        except EtcdRefused as refused:
            if "authentication is not enabled" in refused.message:
                return False
            raise
        raise EtcdInternalError(self.name, "a login without a name was let in")

    async def _call(
        self, rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout_s: float
    ) -> Response:
        try:
            return await rpc(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise translate(self.name, error.code().name, error.details() or "", timeout_s) from error


def _member_seen(said: "pb.StatusResponse", listed: tuple[ListedMember, ...]) -> MemberSeen:
    """Alarms are taken from Status, which has them at hand: Alarm costs a raft entry and needs a quorum."""
    alarms = [match for error in said.errors if (match := _ALARM.match(error))]
    return MemberSeen(
        member_id=said.header.member_id,
        cluster_id=said.header.cluster_id,
        version=parse_version(said.version),
        leader_id=said.leader,
        raft_term=said.raftTerm,
        raft_index=said.raftIndex,
        applied_index=said.raftAppliedIndex,
        db_size=said.dbSize,
        db_in_use=said.dbSizeInUse,
        is_learner=said.isLearner,
        members=listed,
        alarms=tuple(_alarm(match[2], int(match[1] or 0)) for match in alarms),
        errors=tuple(error for error in said.errors if not _ALARM.match(error)),
        storage_version=said.storageVersion,
        downgrade_to=said.downgradeInfo.targetVersion if said.downgradeInfo.enabled else "",
    )


def _listed_in(said: "pb.MemberListResponse") -> tuple[ListedMember, ...]:
    return tuple(_listed(member) for member in sorted(said.members, key=lambda member: member.ID))


def _listed(member: "pb.Member") -> ListedMember:
    return ListedMember(
        member.ID, member.name, tuple(member.peerURLs), tuple(member.clientURLs), member.isLearner
    )


def _alarm(kind: str, member_id: int) -> str:
    return f"{kind} on member {member_id:x}" if member_id else kind
