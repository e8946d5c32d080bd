"""Send one request: what an answer, no answer and an answer without end mean."""

import asyncio
import ssl
from pathlib import Path

import pytest

from etcdup.remote.etcd.request import why_no_answer
from tests.remote.etcd.test_handshake import make_server_files


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", ""),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "it answered 403"),
        (b"", "it closed the connection"),
        (b"HTTP/1.1", "it closed the connection"),
        (b"x" * 1024 * 1024, "it answered xxx"),
    ],
)
async def test_only_a_good_status_is_an_answer(tmp_path: Path, answer: bytes, why: str) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    cert, key, _ = make_server_files(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    address, port = server.sockets[0].getsockname()
    async with server:
        found = await why_no_answer(address, port, "i1", client)
    assert found.startswith(why)
    assert bool(found) == bool(why)
