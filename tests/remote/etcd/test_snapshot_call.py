"""The snapshot call against a gRPC server of the tests: each end of a call has its error, and releases the call."""

import asyncio
import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

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
from etcdup.remote.etcd.grpc_library import grpc, pb
from tests.support.etcd_certs import Authority, Pair
from tests.support.texts import Texts

S = 10.0
HOST = "127.0.0.1"
MIB = 1 << 20

Messages = AsyncIterator[bytes]
Answer = Callable[["grpc.aio.ServicerContext[bytes, bytes]"], Messages]


def message(blob: bytes) -> bytes:
    return pb.SnapshotResponse(blob=blob).SerializeToString()


class Member:
    """A certificate of a member, and the credentials of a client that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority()
        self.pair: Pair = self.authority.issue("m1", [HOST])
        self.pair.write(folder, "m1")
        self.credentials = Credentials(self.authority.pem, self.pair.cert, self.pair.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(folder / "m1.pem", folder / "m1-key.pem")
        self.context.set_alpn_protocols(["h2"])
        self.released = asyncio.Event()

    @asynccontextmanager
    async def serving(self, answer: Answer) -> AsyncIterator[str]:
        """Serve Snapshot with these messages; yield `host:port`. `released` is set when a call has ended."""

        async def snapshot(
            request: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]"
        ) -> AsyncIterator[bytes]:
            try:
                async with aclosing(answer(context)) as messages:  # type: ignore[type-var]
                    async for each in messages:
                        yield each
            finally:
                self.released.set()

        server = grpc.aio.server()
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(snapshot)
        handler = grpc.method_handlers_generic_handler("etcdserverpb.Maintenance", {"Snapshot": method})
        server.add_generic_rpc_handlers((handler,))
        port = server.add_secure_port(
            f"{HOST}:0", grpc.ssl_server_credentials([(self.pair.key, self.pair.cert)])
        )
        await server.start()
        try:
            yield f"{HOST}:{port}"
        finally:
            await server.stop(0)

    @contextmanager
    def sending(self, content: bytes, *, and_stays: bool = False) -> Iterator[str]:
        """Send these bytes over TLS after the first byte of the client; yield `host:port`."""
        context = self.context

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(S)
                with suppress(OSError), context.wrap_socket(self.request, server_side=True) as stream:
                    stream.recv(1)
                    stream.sendall(content)
                    while and_stays and stream.recv(1 << 16):
                        pass

        with socketserver.ThreadingTCPServer((HOST, 0), Handler) as server:
            server.daemon_threads, server.block_on_close = True, False
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"{HOST}:{server.server_address[1]}"
            finally:
                server.shutdown()

    @asynccontextmanager
    async def client(self, target: str, **changed: bytes) -> AsyncIterator[Etcd]:
        client = Etcd("m1", target, HOST, replace(self.credentials, **changed))
        try:
            yield client
        finally:
            await client.close()


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


def answer_with(*blobs: bytes) -> Answer:
    async def answer(_: object) -> Messages:
        for blob in blobs:
            yield message(blob)

    return answer


def answer_and_stay(*blobs: bytes) -> Answer:
    async def answer(_: object) -> Messages:
        for blob in blobs:
            yield message(blob)
        await asyncio.Event().wait()

    return answer


def answer_and_fail(code: str, details: str, *blobs: bytes) -> Answer:
    async def answer(context: "grpc.aio.ServicerContext[bytes, bytes]") -> Messages:
        for blob in blobs:
            yield message(blob)
        await context.abort(grpc.StatusCode[code], details)

    return answer


@pytest.mark.parametrize(
    "blobs",
    [
        (b"first", b"second"),
        (b"first", b"", b"second"),
        (b"first" * MIB, b"second" * MIB),
        tuple(b"%d" % number * (32 << 10) for number in range(100)),
        (),
    ],
    ids=["two", "one empty", "larger than a piece", "many", "none"],
)
async def test_a_snapshot_that_ends_well_is_complete(member: Member, blobs: tuple[bytes, ...]) -> None:
    async with member.serving(answer_with(*blobs)) as target, member.client(target) as client:
        assert await read_all(client) == b"".join(blobs)


@pytest.mark.parametrize("blobs", [(), (b"first",), (b"first" * MIB,)], ids=["none", "one", "large"])
@pytest.mark.parametrize(
    ("code", "details", "kind"),
    [
        ("UNAVAILABLE", "etcdserver: no leader", NoLeader),
        ("RESOURCE_EXHAUSTED", "too slow", EtcdRpcError),
        ("UNAUTHENTICATED", "etcdserver: user name is empty", AuthRequired),
        ("UNKNOWN", "broken", EtcdInternalError),
        ("DATA_LOSS", "broken", EtcdInternalError),
    ],
)
async def test_a_snapshot_that_the_member_fails_is_an_error(
    texts: Texts, member: Member, code: str, details: str, kind: type[EtcdRpcError], blobs: tuple[bytes, ...]
) -> None:
    answer = answer_and_fail(code, details, *blobs)
    async with member.serving(answer) as target, member.client(target) as client:
        with pytest.raises(kind) as caught:
            await read_all(client)
        texts(caught.value.message)


async def test_a_message_that_is_no_snapshot_is_an_error(member: Member) -> None:
    async def answer(_: object) -> Messages:
        yield message(b"first")
        yield b"\x1a\xff"

    async with member.serving(answer) as target, member.client(target) as client:
        with pytest.raises(EtcdInternalError):
            await read_all(client)


@pytest.mark.parametrize("limit", [0, 2000, MIB, 3 * MIB])
async def test_a_connection_that_is_cut_is_an_error(texts: Texts, member: Member, limit: int) -> None:
    blobs = tuple(bytes(32 << 10) for _ in range(256))
    async with (
        member.serving(answer_with(*blobs)) as target,
        cutting(target, limit) as cut,
        member.client(cut) as client,
    ):
        with pytest.raises(EtcdUnavailable) as caught:
            await read_all(client)
        texts(caught.value.message)


@asynccontextmanager
async def cutting(target: str, limit: int) -> AsyncIterator[str]:
    """Forward to the target, and abort the connection after this many bytes from it. Yields `host:port`."""
    tasks: list[asyncio.Task[None]] = []
    port = int(target.rpartition(":")[2])

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int) -> None:
        with suppress(OSError):
            while left > 0 and (part := await reader.read(min(left, 1 << 16))):
                writer.write(part)
                await writer.drain()
                left -= len(part)
        writer.transport.abort()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(require_task(asyncio.current_task()))
        far_reader, far_writer = await asyncio.open_connection(HOST, port)
        await asyncio.gather(pump(reader, far_writer, 1 << 40), pump(far_reader, writer, limit))

    async with await asyncio.start_server(forward, HOST, 0) as server:
        yield f"{HOST}:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*tasks)


async def test_a_slow_reader_makes_the_member_wait(member: Member) -> None:
    """The store sets the pace: what it has not taken waits at the member, not in the memory of etcdup."""
    sent = 0

    async def answer(_: object) -> Messages:
        nonlocal sent
        for _number in range(64 * 32):
            sent += 32 << 10
            yield message(bytes(32 << 10))

    async with member.serving(answer) as target, member.client(target) as client:
        size = 0
        async with aclosing(client.snapshot(timeout_s=S)) as pieces:
            size += len(await anext(pieces))
            await asyncio.sleep(1.0)
            assert sent < 24 * MIB
            async for piece in pieces:
                size += len(piece)
        assert size == sent == 64 * MIB


async def test_a_member_that_sends_nothing_more_is_a_timeout(texts: Texts, member: Member) -> None:
    async with member.serving(answer_and_stay(b"first")) as target, member.client(target) as client:
        with pytest.raises(EtcdTimeout) as caught:
            await read_all(client, 0.5)
        texts(caught.value.message)
        await asyncio.wait_for(member.released.wait(), S)


async def test_a_reader_that_stops_early_releases_the_call(member: Member) -> None:
    async with member.serving(answer_and_stay(b"first" * MIB)) as target, member.client(target) as client:
        async with aclosing(client.snapshot(timeout_s=S)) as pieces:
            assert await anext(pieces)
        await asyncio.wait_for(member.released.wait(), S)


async def test_a_reader_that_is_cancelled_releases_the_call(member: Member) -> None:
    async with member.serving(answer_and_stay(b"first")) as target, member.client(target) as client:
        reading = asyncio.create_task(read_all(client))
        await asyncio.sleep(0.2)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.wait_for(member.released.wait(), S)


async def test_a_handshake_without_an_answer_can_be_cancelled(texts: Texts, member: Member) -> None:
    heard, released = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(1 << 16):
                heard.set()
        await close_writer(writer)
        released.set()

    async with await asyncio.start_server(listen, HOST, 0) as server:
        target = f"{HOST}:{server.sockets[0].getsockname()[1]}"
        async with member.client(target) as client:
            reading = asyncio.create_task(read_all(client))
            await asyncio.wait_for(heard.wait(), S)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await asyncio.wait_for(released.wait(), S)
            released.clear()
            with pytest.raises(EtcdTimeout) as caught:
                await read_all(client, 0.3)
            texts(caught.value.message)
            await asyncio.wait_for(released.wait(), S)


async def test_a_connection_that_is_closed_after_the_handshake_is_an_error(
    texts: Texts, member: Member
) -> None:
    with member.sending(b"") as target:
        async with member.client(target) as client:
            with pytest.raises(EtcdUnavailable) as caught:
                await read_all(client)
            texts(caught.value.message)


async def test_another_protocol_behind_tls_is_an_error(texts: Texts, member: Member) -> None:
    with member.sending(b"HTTP/1.1 400 Bad Request\r\n\r\n") as target:
        async with member.client(target) as client:
            with pytest.raises(EtcdUnavailable) as caught:
                await read_all(client)
            texts(caught.value.message)


async def test_a_port_with_tls_and_without_http2_is_an_error(texts: Texts, member: Member) -> None:
    member.context.set_alpn_protocols([])
    with member.sending(b"", and_stays=True) as target:
        async with member.client(target) as client:
            with pytest.raises(EtcdUnavailable) as caught:
                await read_all(client)
            texts(caught.value.message)


@pytest.mark.parametrize("comment", [b"# Z\xc3\xbcrich\n", b"# Z\xfcrich\n"])
async def test_a_ca_file_may_contain_comments_of_any_encoding(member: Member, comment: bytes) -> None:
    ca = comment + member.credentials.ca
    async with member.serving(answer_with(b"first")) as target, member.client(target, ca=ca) as client:
        assert await read_all(client) == b"first"


@pytest.mark.parametrize("ca", [b"", b"\xff"])
async def test_a_ca_file_without_a_certificate_is_damaged(member: Member, ca: bytes) -> None:
    async with member.serving(answer_with(b"first")) as target, member.client(target, ca=ca) as client:
        with pytest.raises(EtcdUntrusted):
            await read_all(client)
