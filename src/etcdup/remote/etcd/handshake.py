"""Fetch the certificate that a port serves, by a new TLS handshake. An open connection does not show it (rule 17).

The certificate is not verified, so that an expired one, or one of another CA, is fetched as well.
"""

import asyncio
import ssl
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from etcdup.core.certs.exports import ClientFiles

TIMEOUT_S = 5.0
_CHUNK = 16_384
# TLS records and messages (https://www.rfc-editor.org/rfc/rfc5246): the header of a record has 5 bytes, that of a
# message has 4 bytes.
_HANDSHAKE_RECORD, _CERTIFICATE_MESSAGE = 22, 11


class HandshakeFailed(Exception):
    """No certificate was received. The message is the reason."""


class NotServing(HandshakeFailed):
    """No process listens on the port, or it does not answer: etcd serves clients only after it has had a quorum."""


def fingerprint_of(cert: x509.Certificate) -> str:
    """Return the fingerprint, as `CertSeen.fingerprint` has it."""
    return cert.fingerprint(hashes.SHA256()).hex()


async def fetch_served_cert(address: str, port: int, client: ClientFiles | None = None) -> x509.Certificate:
    """Return the leaf certificate that `address:port` serves now. Raises HandshakeFailed.

    With the certificate of `client` the server does not log a warning about a client without one. It does not matter
    whether the server accepts it.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                return x509.load_der_x509_certificate(await _read_leaf(reader, writer, client))
            finally:
                writer.close()
    except TimeoutError:
        raise NotServing(f"no handshake within {TIMEOUT_S:.0f} s") from None
    except ConnectionRefusedError as error:
        raise NotServing(error.strerror or str(error)) from None
    except OSError as error:
        raise HandshakeFailed(error.strerror or str(error)) from None
    except ValueError:
        raise HandshakeFailed("the served data is not a certificate") from None


async def _read_leaf(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: ClientFiles | None
) -> bytes:
    """Do a handshake and return the server's leaf certificate, in DER.

    With TLS 1.3 the client's part ends before the server checks the client certificate. With TLS 1.2 a server that
    rejects it ends the handshake, but it has sent its own certificate before, unencrypted.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = _context(client).wrap_bio(incoming, outgoing)
    received = b""
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            received += await _exchange(reader, writer, incoming, outgoing)
            continue
        except ssl.SSLError as error:
            if leaf := _tls12_leaf(received):
                return leaf
            if not received:  # a forwarded port accepts every connection, and closes it if no process listens
                raise NotServing(
                    "the connection was closed at once: no process listens on the port"
                ) from None
            raise HandshakeFailed(f"the handshake failed: {error.reason or error}") from None
        await _flush(writer, outgoing)
        return tls.getpeercert(binary_form=True) or b""


def _context(client: ClientFiles | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    if client is not None:
        with suppress(OSError):  # also ssl.SSLError: the handshake works without a client certificate
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


def _tls12_leaf(received: bytes) -> bytes | None:
    """Return the leaf in the Certificate message of TLS 1.2, or None if it was not received."""
    messages = b""
    while len(received) >= 5 and received[0] == _HANDSHAKE_RECORD:
        length = int.from_bytes(received[3:5])
        messages += received[5 : 5 + length]
        received = received[5 + length :]
    while len(messages) >= 4:
        length = int.from_bytes(messages[1:4])
        body = messages[4 : 4 + length]
        if messages[0] == _CERTIFICATE_MESSAGE and len(body) == length and length > 6:
            return body[6 : 6 + int.from_bytes(body[3:6])]
        messages = messages[4 + length :]
    return None
