"""Fetch the leaf certificate of a port: with both TLS versions, and from servers that reject the client."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from etcdup.core.certs.required import BOTH, DesiredCert
from etcdup.ops.pki.signing import SigningCa, cert_pem, key_pem, make_ca, make_cert, new_key
from etcdup.remote.etcd.handshake import HandshakeFailed, fetch_served_cert
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.ssh import connect
from tests.support.sshd import run_sshd
from tests.support.texts import Texts


def make_server_files(folder: Path, *, days: int = 10) -> tuple[Path, Path, x509.Certificate]:
    """Return a server's certificate and key. With negative `days` the certificate has expired."""
    now = datetime.now(UTC) - timedelta(days=20 if days < 0 else 0)
    key, own = new_key(), new_key()
    authority = SigningCa(make_ca(key, "prod", 1000, now), key)
    leaf = make_cert(
        DesiredCert("server/i1", "i1", usages=BOTH), own, authority, "prod", days=abs(days), now=now
    )
    (folder / "leaf.pem").write_bytes(cert_pem(leaf))
    (folder / "ca.pem").write_bytes(cert_pem(authority.cert))
    (folder / "key.pem").write_bytes(key_pem(own))
    return folder / "leaf.pem", folder / "key.pem", leaf


@pytest.mark.parametrize("days", [10, -10])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_server_that_requires_a_client_certificate_shows_its_own(
    tmp_path: Path, version: ssl.TLSVersion, days: int
) -> None:
    cert, key, leaf = make_server_files(tmp_path, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(cert, key)
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        assert await fetch_served_cert(*server.sockets[0].getsockname()) == leaf


async def test_a_port_without_tls_has_no_certificate(texts: Texts) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address, port = server.sockets[0].getsockname()
        with pytest.raises(HandshakeFailed) as caught:
            await fetch_served_cert(address, port)
        texts(caught.value, PORT=port)


async def test_a_closed_port_is_an_error() -> None:
    server = await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    with pytest.raises(HandshakeFailed):
        await fetch_served_cert(*address)


async def test_through_ssh_a_served_and_a_closed_port_are_distinguished(tmp_path: Path) -> None:
    cert, key, leaf = make_server_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    with run_sshd(tmp_path / "sshd") as sshd:
        reached = await connect(sshd.host(), sshd.ssh(), secrets=Secrets(environ={}))
        try:
            async with server:
                port = server.sockets[0].getsockname()[1]
                assert await fetch_served_cert(*await reached.forward("127.0.0.1", port)) == leaf
            with pytest.raises(HandshakeFailed):
                await fetch_served_cert(*await reached.forward("127.0.0.1", port))
        finally:
            await reached.close()


async def test_a_connection_that_is_closed_at_once_is_an_error() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        with pytest.raises(HandshakeFailed):
            await fetch_served_cert(*server.sockets[0].getsockname())
