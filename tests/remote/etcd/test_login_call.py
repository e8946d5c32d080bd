"""The login against a gRPC server of the tests, which sends what a hostile member can send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from etcdup.remote.etcd.client import Access, Credentials
from etcdup.remote.etcd.errors import AuthRequired, EtcdInternalError, EtcdRpcError
from etcdup.remote.etcd.grpc_client import Etcd
from etcdup.remote.etcd.grpc_library import grpc, pb
from tests.support.etcd_certs import Authority
from tests.support.texts import Texts

S = 10.0
HOST = "127.0.0.1"


class Member:
    """A member that refuses each read, and answers to each login with `token`."""

    def __init__(self, token: bytes) -> None:
        self.token = token
        self.passwords: list[str] = []
        self.tokens: list[str] = []

    @asynccontextmanager
    async def client(self, folder: Path) -> AsyncIterator[Etcd]:
        async def password() -> str:
            return "hunter2"

        authority = Authority()
        pair = authority.issue("m1", [HOST])
        server = grpc.aio.server()
        for service, name, method in (("Auth", "Authenticate", self._log_in), ("KV", "Range", self._refuse)):
            handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(method)
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"etcdserverpb.{service}", {name: handler}),)
            )
        port = server.add_secure_port(f"{HOST}:0", grpc.ssl_server_credentials([(pair.key, pair.cert)]))
        await server.start()
        credentials = Credentials(authority.pem, pair.cert, pair.key)
        client = Etcd("m1", f"{HOST}:{port}", HOST, credentials, Access("root", password))
        try:
            yield client
        finally:
            await client.close()
            await server.stop(0)

    async def _log_in(self, request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        asked = pb.AuthenticateRequest.FromString(request)
        if not asked.name:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "etcdserver: authentication failed")
        self.passwords.append(asked.password)
        length, encoded = len(self.token), b""
        while length > 0x7F:
            encoded += bytes((length & 0x7F | 0x80,))
            length >>= 7
        return b"\x12" + encoded + bytes((length,)) + self.token

    async def _refuse(self, _: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        self.tokens += [str(value) for key, value in context.invocation_metadata() or () if key == "token"]
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "etcdserver: invalid auth token")
        return b""


@pytest.mark.parametrize(
    "token", [b"", b"a b", b"a\r\nb: c", b"\x00", "ü".encode(), b"\xff", b"x" * 4097, b"x" * 10_000_000],
    ids=range(8),
)  # fmt: skip
async def test_a_token_that_is_no_token_is_an_error_of_the_member(token: bytes, tmp_path: Path) -> None:
    member = Member(token)
    async with member.client(tmp_path) as client:
        with pytest.raises(EtcdRpcError) as failed:
            await client.get(b"a", timeout_s=S)
    assert isinstance(failed.value, EtcdInternalError)
    assert "hunter2" not in f"{failed.value}{failed.value.detail}{failed.value.hint}"
    assert member.tokens == []


async def test_a_member_that_refuses_each_token_gets_one_login_for_each_request(
    texts: Texts, tmp_path: Path
) -> None:
    member = Member(b"abc.1")
    async with member.client(tmp_path) as client:
        for count in (1, 2):
            with pytest.raises(AuthRequired) as caught:
                await client.get(b"a", timeout_s=S)
            texts(caught.value)
            assert member.passwords == ["hunter2"] * count
