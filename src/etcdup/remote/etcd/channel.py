"""One gRPC channel to one member: its options, its services, the login, and the errors of calls.

A channel is never balanced over several members: Status, Defragment and a health proof are about one member.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from etcdup.remote.etcd.client import Access, Credentials
from etcdup.remote.etcd.errors import (
    AuthRequired,
    EtcdInternalError,
    EtcdRefused,
    EtcdTimeout,
    EtcdUnavailable,
    translate,
)
from etcdup.remote.etcd.login import Login

if TYPE_CHECKING:
    # At run time import_grpc sets these names.
    from etcdup.remote.etcd.grpc_library import grpc, pb, services  # noqa: TC004

Request = TypeVar("Request")
Response = TypeVar("Response")

_CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # A list of leases may be larger than the default of 4 MB. A piece of a snapshot has less than 1 MB.
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),  # A member that starts is reached soon.
    ("grpc.max_reconnect_backoff_ms", 100),  # Pauses must not grow: each start would wait for them.
    ("grpc.min_reconnect_backoff_ms", 5000),  # Despite its name: the longest time of one attempt.
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    ("grpc.keepalive_time_ms", 10_000),  # etcd disconnects clients that ping more often than every 5 s.
    ("grpc.keepalive_timeout_ms", 5000),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),  # http_proxy is not for ports that are forwarded to this machine.
    ("grpc.use_local_subchannel_pool", 1),  # A new client makes a new handshake (rule 17).
)

# A snapshot is the only large stream. Without a fixed window gRPC lets it grow with the throughput, and memory with it.
_SNAPSHOT_OPTIONS: tuple[tuple[str, int], ...] = (
    # The thread that reads the messages also waits for them. By default another thread waits and passes on each
    # message, which takes a fifth of the CPU time of the stream (grpc.experimental.ChannelOptions).
    ("SingleThreadedUnaryStream", 1),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 << 20),
)

# A simple token has 20 characters, and a JWT some hundred. It is sent in a header of HTTP/2.
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}", re.ASCII)


def import_grpc(names: dict[str, Any]) -> None:
    """Import grpc with the first client, and set its names: `etcdup --help` does not need the import of 90 ms."""
    library = import_module("etcdup.remote.etcd.grpc_library")
    names.update(grpc=library.grpc, pb=library.pb, services=library.services)


class Channel:
    """The channel of one member. The parameters are those of Etcd (grpc_client.py)."""

    def __init__(
        self,
        name: str,
        target: str,
        server_name: str,
        credentials: Credentials,
        access: Access | None,
    ) -> None:
        import_grpc(globals())
        self.name = name
        self._target = target
        self._credentials = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
        self._options: list[tuple[str, int | str]] = [
            *_CHANNEL_OPTIONS,
            ("grpc.ssl_target_name_override", server_name),
        ]
        self._channel = grpc.aio.secure_channel(target, self._credentials, options=self._options)
        self.kv = services.KVStub(self._channel)
        self.lease = services.LeaseStub(self._channel)
        self.cluster = services.ClusterStub(self._channel)
        self.maintenance = services.MaintenanceStub(self._channel)
        self.auth = services.AuthStub(self._channel)
        self.login = Login(self, access) if access else None

    async def close(self) -> None:
        if self.login is not None:
            self.login.close()
        await self._channel.close()

    async def snapshot(self, timeout_s: float) -> AsyncGenerator[bytes, None]:
        """Yield the database of the member, over a channel of its own."""
        from etcdup.remote.etcd.snapshot_stream import stream_snapshot

        metadata = _metadata(self.login.token) if self.login else ()
        options = [*self._options, *_SNAPSHOT_OPTIONS]
        channel = grpc.secure_channel(self._target, self._credentials, options)
        stream = stream_snapshot(self.name, channel, metadata=metadata, timeout_s=timeout_s)
        async with aclosing(stream) as pieces:
            async for piece in pieces:
                yield piece

    async def is_auth_enabled(self, *, timeout_s: float) -> bool:
        """Try a login without a user name, which each version refuses: 3.4 has no AuthStatus."""
        try:
            await self._send(self.auth.Authenticate, pb.AuthenticateRequest(), timeout_s)
        except AuthRequired:
            return True
        except EtcdRefused as refused:
            if "authentication is not enabled" in refused.message:
                return False
            raise
        raise EtcdInternalError(self.name, "a login without a user name was accepted")

    async def authenticate(self, user: str, password: str, *, timeout_s: float) -> str:
        """Log in, and return the token."""
        request = pb.AuthenticateRequest(name=user, password=password)
        token = (await self._send(self.auth.Authenticate, request, timeout_s)).token
        if not _TOKEN.fullmatch(token):
            raise EtcdInternalError(self.name, "the answer to the login has no token that can be sent")
        return str(token)

    async def call(
        self, rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout_s: float
    ) -> Response:
        """Send a request with the token of the user, if there is one. etcd has not executed a request that it refuses,
        so the request is sent a second time after a login."""
        token = self.login.token if self.login else ""
        try:
            return await self._send(rpc, request, timeout_s, token)
        except (EtcdTimeout, EtcdUnavailable):
            if self.login is not None:
                self.login.forget(token)
            raise
        except AuthRequired as refused:
            if self.login is None:
                raise
            return await self._send(rpc, request, timeout_s, await self.login.renew(refused, token))

    async def call_freely(
        self, rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]", request: Request, timeout_s: float
    ) -> Response:
        """Send a request that needs no rights, at first without a token: a login needs a quorum.

        If clients need no certificate, etcd requires some user for it. The time for the login is limited too. A login
        that takes longer ends later, and the next request has its token.
        """
        try:
            return await self._send(rpc, request, timeout_s)
        except EtcdUnavailable:
            if self.login is not None:
                self.login.forget(self.login.token)
            raise
        except AuthRequired as refused:
            if self.login is None:
                raise
            try:
                async with asyncio.timeout(2 * timeout_s):
                    return await self.call(rpc, request, timeout_s)
            except TimeoutError:
                raise refused from None

    async def _send(
        self,
        rpc: "grpc.aio.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        timeout_s: float,
        token: str = "",
    ) -> Response:
        try:
            answer: Response | None = await rpc(request, timeout=timeout_s, metadata=_metadata(token))
        except grpc.aio.AioRpcError as error:
            raise translate(self.name, error.code().name, error.details() or "", timeout_s) from error
        if answer is None:  # grpc.aio returns this for bytes that are no message of this kind.
            raise EtcdInternalError(self.name, "the answer is no message of etcd")
        return answer


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("token", token),) if token else ()
