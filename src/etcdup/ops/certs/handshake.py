"""The certificate that a port really serves: seen by a new handshake, never by an open connection (rule 17).

Nothing is verified here, so that an expired certificate, or a stranger's, is seen as well as a good one.
"""

import asyncio
import ssl
from contextlib import suppress

from cryptography import x509

from etcdup.core.certs.exports import ClientFiles

TIMEOUT_S = 5.0
_CHUNK = 16_384
# TLS records and messages (RFC 5246): a record's head is 5 bytes, a message's 4.
_HANDSHAKE_RECORD, _CERTIFICATE_MESSAGE = 22, 11


class HandshakeFailed(Exception):
    """Why no certificate was seen."""


async def fetch_served_cert(address: str, port: int, client: ClientFiles | None = None) -> x509.Certificate:
    """The leaf that `address:port` serves now. `client` spares the server a warning in its log about a client without
    a certificate; what it thinks of it does not matter here. Raises NoHandshake."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                return x509.load_der_x509_certificate(await _read_leaf(reader, writer, client))
            finally:
                writer.close()
    except TimeoutError:
        raise HandshakeFailed(f"no handshake within {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise HandshakeFailed(error.strerror or str(error)) from None
    except ValueError:
        raise HandshakeFailed("what it serves is not a certificate") from None


async def _read_leaf(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: ClientFiles | None
) -> bytes:
    """With TLS 1.3 the client's side is done before the server judges the client. With 1.2 a server that wants
    another client than this ends the handshake, but its certificate came in clear before that."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context(client).wrap_bio(incoming, outgoing)
    heard = b""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            heard += await _exchange(reader, writer, incoming, outgoing)
            continue
        except ssl.SSLError as error:
            if leaf := _tls12_leaf(heard):
                return leaf
            if not heard:  # a forwarded port takes every connection, and then drops it
                raise HandshakeFailed("the connection was closed at once: nothing listens there") from None
            raise HandshakeFailed(f"the handshake failed: {error.reason or error}") from None
        await _flush(writer, outgoing)
        return tls.getpeercert(binary_form=True) or b""


def _context(client: ClientFiles | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client is not None:
        with suppress(OSError):  # also ssl.SSLError: without it the certificate is seen all the same
            context.load_cert_chain(client.cert, client.key)
    return context


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    incoming: ssl.MemoryBIO,
    outgoing: ssl.MemoryBIO,
) -> bytes:
    await _flush(writer, outgoing)
    data = await reader.read(_CHUNK)
    if data:
        incoming.write(data)
    else:
        incoming.write_eof()
    return data


async def _flush(writer: asyncio.StreamWriter, outgoing: ssl.MemoryBIO) -> None:
    if outgoing.pending:
        writer.write(outgoing.read())
        await writer.drain()


def _tls12_leaf(heard: bytes) -> bytes | None:
    """The leaf in the Certificate message of TLS 1.2, if that was heard."""
    messages = b""
    while len(heard) >= 5 and heard[0] == _HANDSHAKE_RECORD:
        length = int.from_bytes(heard[3:5])
        messages += heard[5 : 5 + length]
        heard = heard[5 + length :]
    while len(messages) >= 4:
        length = int.from_bytes(messages[1:4])
        body = messages[4 : 4 + length]
        if messages[0] == _CERTIFICATE_MESSAGE and len(body) == length and length > 6:
            return body[6 : 6 + int.from_bytes(body[3:6])]
        messages = messages[4 + length :]
    return None
