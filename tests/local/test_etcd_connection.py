"""The error for each fault of a connection to a member, and the faults that a connection survives."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from etcdup.remote.etcd.errors import EtcdRpcError, EtcdTimeout, EtcdUnavailable, EtcdUntrusted
from etcdup.remote.etcd.grpc_client import Credentials
from tests.support.etcd_certs import Authority, Pair
from tests.support.etcd_cluster import CLIENT_PORT, IPV6_OF_ALL, EtcdCluster
from tests.support.etcd_wait import wait_for_status
from tests.support.texts import Texts

S = 10.0


async def expect_error(
    cluster: EtcdCluster, *, target: str = "", server_name: str = "", **pem: bytes
) -> EtcdRpcError:
    """Return the error of a call to m1 with a client that is correct except for these values.

    The second call has the same error, and so has a snapshot, which has a connection of its own.
    """
    changed = Credentials(**{**vars(cluster.credentials), **pem})
    async with cluster.client("m1", target=target, server_name=server_name, credentials=changed) as client:
        with pytest.raises(EtcdRpcError) as first:
            await client.status(timeout_s=S)
        with pytest.raises(EtcdRpcError) as again:
            await client.put(b"k", b"v", timeout_s=S)
        with pytest.raises(EtcdRpcError) as streamed:
            await anext(client.snapshot(timeout_s=S))
    assert (type(streamed.value), streamed.value.message) == (type(first.value), first.value.message)
    assert (type(again.value), again.value.message) == (type(first.value), first.value.message)
    return first.value


@contextlib.asynccontextmanager
async def listening(answer: bytes) -> AsyncIterator[str]:
    """Listen on a port, send `answer` to each client, and close the connection: a forwarded port without etcd."""

    async def answer_and_close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer_and_close, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def forwarding(address: str) -> AsyncIterator[int]:
    """Forward a port of 127.0.0.1 to etcd at this address, as SSH does."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(address, CLIENT_PORT)
        pumps.append(asyncio.gather(pump(reader, far_writer), pump(far_reader, writer)))

    pumps: list[asyncio.Future[tuple[None, None]]] = []
    async with await asyncio.start_server(forward, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*pumps)


@pytest.mark.parametrize("name", ["another", "test CA"])
async def test_a_member_of_another_authority(texts: Texts, cluster: EtcdCluster, name: str) -> None:
    """A CA with another name, or a new CA with the same name and another key."""
    error = await expect_error(cluster, ca=Authority(name).pem)
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])


@pytest.mark.parametrize("name", ["127.77.255.9", "2001:db8::78", "another.example"])
async def test_a_certificate_for_another_address(texts: Texts, cluster: EtcdCluster, name: str) -> None:
    error = await expect_error(cluster, server_name=name)
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])


async def test_a_member_whose_certificate_has_expired(texts: Texts, cluster: EtcdCluster) -> None:
    member = cluster.members["m1"]
    good = Pair((member.folder / "server.pem").read_bytes(), (member.folder / "server-key.pem").read_bytes())
    cluster.authority.issue("m1", [member.address], days=-1).write(member.folder, "server")
    try:
        error = await expect_error(cluster)
    finally:
        good.write(member.folder, "server")
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])
    async with cluster.client(
        "m1"
    ) as client:  # rule 12: etcd reads the restored certificate without a restart
        await client.status(timeout_s=S)


@pytest.mark.parametrize("which", ["expired", "of another authority"])
async def test_a_client_certificate_that_the_member_does_not_accept(
    texts: Texts, cluster: EtcdCluster, which: str
) -> None:
    signer = cluster.authority if which == "expired" else Authority("another")
    pair = signer.issue("root", days=-1 if which == "expired" else 7)
    error = await expect_error(cluster, cert=pair.cert, key=pair.key)
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])


async def test_no_client_certificate(cluster: EtcdCluster) -> None:
    error = await expect_error(cluster, cert=b"", key=b"")
    assert isinstance(error, EtcdUntrusted)


@pytest.mark.parametrize("broken", ["cert", "key", "ca"])
async def test_files_that_are_no_certificates(texts: Texts, cluster: EtcdCluster, broken: str) -> None:
    error = await expect_error(cluster, target="", server_name="", **{broken: b"no PEM"})
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])
    assert "PEM" not in error.detail


async def test_a_key_of_another_certificate(texts: Texts, cluster: EtcdCluster) -> None:
    error = await expect_error(cluster, key=cluster.authority.issue("root").key)
    texts([each for each in (error.message, error.hint) if each])


async def test_a_closed_port(cluster: EtcdCluster) -> None:
    error = await expect_error(cluster, target=f"{cluster.members['m1'].address}:1")
    assert type(error) is EtcdUnavailable
    assert error.message == "m1: no program listens on the client port"


async def test_a_forwarded_port_without_etcd_behind_it(texts: Texts, cluster: EtcdCluster) -> None:
    async with listening(b"") as target:
        error = await expect_error(cluster, target=target)
    assert type(error) is EtcdUnavailable
    texts([each for each in (error.message, error.hint) if each])


async def test_a_port_without_tls(texts: Texts, cluster: EtcdCluster) -> None:
    async with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as target:
        error = await expect_error(cluster, target=target)
    assert isinstance(error, EtcdUntrusted)
    texts([each for each in (error.message, error.hint) if each])


async def test_an_unknown_host_name(texts: Texts, cluster: EtcdCluster) -> None:
    error = await expect_error(cluster, target="unknown.invalid:2379")
    assert type(error) is EtcdUnavailable
    texts([each for each in (error.message, error.hint) if each])


async def test_a_frozen_member(texts: Texts, cluster: EtcdCluster) -> None:
    with cluster.members["m1"].paused():
        async with cluster.client("m1") as client:
            with pytest.raises(EtcdTimeout) as caught:
                await client.status(timeout_s=0.5)
    texts(caught.value.message)
    cluster.wait_healthy()


async def test_a_forwarded_port_shows_the_members_own_certificate(cluster: EtcdCluster) -> None:
    """The certificate has the member's address, not 127.0.0.1. The client verifies `server_name`."""
    member = cluster.members["m1"]

    async with forwarding(member.address) as port:
        for name in (member.address, IPV6_OF_ALL, "m1.example"):
            async with cluster.client("m1", target=f"127.0.0.1:{port}", server_name=name) as client:
                await client.prove(b"proof", name.encode(), timeout_s=S)


async def test_one_client_survives_a_restart_of_its_member(cluster: EtcdCluster) -> None:
    """The client reconnects to a started member within the backoff, not seconds later."""
    member = cluster.members["m1"]
    async with cluster.client("m1") as client:
        await client.status(timeout_s=S)
        member.stop()
        with pytest.raises(EtcdUnavailable):
            await client.status(timeout_s=S)
        cluster.start("m1")
        cluster.wait_healthy("m1")
        await wait_for_status(client, lambda _: True, timeout_s=1.5)
    cluster.wait_healthy()


def test_grpc_writes_nothing_to_stderr_and_is_imported_with_the_first_client(cluster: EtcdCluster) -> None:
    program = """
import asyncio, sys
from etcdup.remote.etcd.grpc_client import Credentials, Etcd
from etcdup.remote.etcd.errors import EtcdRpcError
assert "grpc" not in sys.modules and "google.protobuf" not in sys.modules
async def main():
    for ca in (b"no PEM", None):
        client = Etcd("m1", sys.argv[1], "127.0.0.1", Credentials(ca, b"no PEM", b"no PEM"))
        try:
            await client.status(timeout_s=5)
        except EtcdRpcError as error:
            print(type(error).__name__)
        await client.close()
asyncio.run(main())
"""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, cluster.members["m1"].target],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "EtcdUntrusted\nEtcdUntrusted\n", "")
