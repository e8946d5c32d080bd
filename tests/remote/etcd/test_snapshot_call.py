"""A snapshot's call against a server that says whatever it is told to: how each ending is understood, and let go of."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hpack import Encoder

from etcdup.remote.etcd.errors import (
    AuthRequired,
    EtcdInternalError,
    EtcdRpcError,
    EtcdTimeout,
    EtcdUnavailable,
    EtcdUntrusted,
    NoLeader,
)
from etcdup.remote.etcd.grpc_client import Credentials, Etcd
from etcdup.remote.etcd.http2 import Flag, Kind, frame
from etcdup.remote.etcd.pb import rpc_pb2 as pb
from tests.support.etcd_certs import Authority

S = 10.0
HOST = "127.0.0.1"


def headers(ends: bool = False, **values: str) -> bytes:
    named = {name.replace("_", "-").removeprefix("-"): value for name, value in values.items()}
    block = Encoder().encode({f":{n}" if n == "status" else n: v for n, v in named.items()}.items())
    return frame(Kind.HEADERS, Flag.END_HEADERS | (Flag.END_STREAM if ends else 0), 1, block)


def message(blob: bytes) -> bytes:
    content = pb.SnapshotResponse(blob=blob).SerializeToString()
    return bytes(1) + len(content).to_bytes(4) + content


def data(content: bytes, ends: bool = False) -> bytes:
    return frame(Kind.DATA, Flag.END_STREAM if ends else 0, 1, content)


BEGIN = headers(status="200", content_type="application/grpc")
GOOD = headers(ends=True, grpc_status="0")
FIRST = message(b"first")


class Member:
    """What listens, and whom it would take for a client."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        pair = self.authority.issue("m1", [HOST])
        pair.write(folder, "m1")
        self.credentials = Credentials(self.authority.pem, pair.cert, pair.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "m1.pem", folder / "m1-key.pem")
        self.context.set_alpn_protocols(["h2"])
        self.let_go = asyncio.Event()

    @asynccontextmanager
    async def saying(self, content: bytes, *, and_stays: bool = False) -> AsyncIterator[Etcd]:
        serving: list[asyncio.Task[None]] = []

        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.append(require_task(asyncio.current_task()))
            with suppress(OSError):
                await reader.read(1)
                writer.write(content)
                while and_stays and await reader.read(1 << 16):
                    pass
            self.let_go.set()
            await close_writer(writer)

        async with await asyncio.start_server(say, HOST, 0, ssl=self.context) as server:
            port = server.sockets[0].getsockname()[1]
            client = Etcd("m1", f"{HOST}:{port}", HOST, self.credentials)
            try:
                yield client
            finally:
                await client.close()
                await asyncio.gather(*serving)


def require_task(task: asyncio.Task[None] | None) -> asyncio.Task[None]:
    assert task is not None
    return task


async def close_writer(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return Member(tmp_path)


async def read_all(client: Etcd, timeout_s: float = S) -> bytes:
    return b"".join([piece async for piece in client.snapshot(timeout_s=timeout_s)])


@pytest.mark.parametrize(
    "sent",
    [
        BEGIN + data(FIRST) + data(message(b"second")) + GOOD,
        BEGIN + data(FIRST + message(b"second")[:3]) + data(message(b"second")[3:]) + GOOD,
        BEGIN + data(FIRST) + data(message(b"")) + data(message(b"second")) + GOOD,
    ],
)
async def test_what_ends_well_is_whole(member: Member, sent: bytes) -> None:
    async with member.saying(sent) as client:
        assert await read_all(client) == b"firstsecond"


@pytest.mark.parametrize(
    ("sent", "kind", "why"),
    [
        (BEGIN + data(FIRST, ends=True), EtcdInternalError, "UNKNOWN|HTTP status"),
        (BEGIN + data(FIRST[:-1]) + GOOD, EtcdInternalError, "ends within a message"),
        (BEGIN + data(b"\1" + FIRST[1:]) + GOOD, EtcdInternalError, "compressed"),
        (BEGIN + data(FIRST), EtcdUnavailable, "was closed"),
        (b"", EtcdUnavailable, "was closed"),
        (BEGIN + frame(Kind.RST_STREAM, 0, 1, (2).to_bytes(4)), EtcdUnavailable, "was closed"),
        (frame(Kind.GOAWAY, 0, 0, bytes(8)), EtcdUnavailable, "was closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", EtcdInternalError, "not HTTP/2 as etcd speaks it"),
        (headers(ends=True, status="503"), EtcdUnavailable, "client port"),
        (headers(ends=True, status="401"), AuthRequired, "HTTP status 401"),
        (headers(ends=True, status="418"), EtcdInternalError, "HTTP status 418"),
        (
            headers(ends=True, status="200", grpc_status="14", grpc_message="etcdserver: no%20leader"),
            NoLeader,
            "no leader",
        ),
        (
            BEGIN + data(FIRST) + headers(ends=True, grpc_status="8", grpc_message="too%20slow"),
            EtcdRpcError,
            "too slow",
        ),
        (BEGIN + data(FIRST) + headers(ends=True, grpc_status="99"), EtcdInternalError, "m1: "),
    ],
)
async def test_what_does_not_is_an_error_that_says_why(
    member: Member, sent: bytes, kind: type[EtcdRpcError], why: str
) -> None:
    async with member.saying(sent) as client:
        with pytest.raises(kind, match=why):
            await read_all(client)


async def test_a_member_that_only_pings_stands_still(member: Member) -> None:
    pings = frame(Kind.PING, 0, 0, bytes(8))
    async with member.saying(BEGIN + data(FIRST) + pings, and_stays=True) as client:
        with pytest.raises(EtcdTimeout, match=r"stood still for 0\.5 s"):
            await read_all(client, 0.5)
        await asyncio.wait_for(member.let_go.wait(), S)


async def test_whoever_leaves_early_lets_go_of_the_connection(member: Member) -> None:
    async with member.saying(BEGIN + data(FIRST), and_stays=True) as client:
        asking = asyncio.create_task(read_all(client))
        await asyncio.sleep(0.2)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(member.let_go.wait(), S)


async def test_a_handshake_that_nobody_answers_can_be_left(member: Member) -> None:
    heard, let_go = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            heard.set()
        await close_writer(writer)
        let_go.set()

    async with await asyncio.start_server(listen, HOST, 0) as server:
        port = server.sockets[0].getsockname()[1]
        client = Etcd("m1", f"{HOST}:{port}", HOST, member.credentials)
        asking = asyncio.create_task(read_all(client))
        await asyncio.wait_for(heard.wait(), S)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(let_go.wait(), S)
        let_go.clear()
        with pytest.raises(EtcdTimeout, match=r"stood still for 0\.3 s"):
            await read_all(client, 0.3)
        await asyncio.wait_for(let_go.wait(), S)
        await client.close()


async def test_another_protocol_behind_tls_is_told_of(member: Member) -> None:
    member.context.set_alpn_protocols([])
    async with member.saying(b"", and_stays=True) as client:
        with pytest.raises(EtcdUnavailable, match="speaks TLS, but not HTTP/2"):
            await read_all(client)


@pytest.mark.parametrize("comment", [b"# Z\xc3\xbcrich\n", b"# Z\xfcrich\n"])
async def test_a_ca_file_may_hold_words_of_any_kind(member: Member, comment: bytes) -> None:
    member.credentials = replace(member.credentials, ca=comment + member.credentials.ca)
    async with member.saying(BEGIN + data(FIRST) + GOOD) as client:
        assert await read_all(client) == b"first"


@pytest.mark.parametrize("ca", [b"", b"\xff"])
async def test_a_ca_file_without_a_certificate_is_damaged(member: Member, ca: bytes) -> None:
    async with member.saying(b"") as client:
        client._reach = (client._reach[0], HOST, replace(member.credentials, ca=ca))
        with pytest.raises(EtcdUntrusted):
            await read_all(client)
