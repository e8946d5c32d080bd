"""TLS over a socket that one thread reads: with few system calls for each MiB, and such that another thread can end it.

Python's own TLS socket asks the kernel twice for each record of 16 KiB, and cannot be shut down while it is being read.
"""

import asyncio
import os
import socket
import ssl
from contextlib import suppress

from etcdup.remote.etcd.client import Credentials

ALPN = "h2"
_READ_BYTES = 256 << 10


async def connect_socket(target: str) -> socket.socket:
    """A connection to `host:port`, in blocking mode. Raises OSError."""
    loop = asyncio.get_running_loop()
    host, _, port = target.rpartition(":")
    found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    refused: OSError | None = None
    for family, kind, protocol, _, address in found:
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        try:
            await loop.sock_connect(connection, address)
        except OSError as error:
            connection.close()
            refused = error if error.errno is None else OSError(error.errno, os.strerror(error.errno))
        except BaseException:
            connection.close()
            raise
        else:
            connection.setblocking(True)
            return connection
    raise refused or OSError(f"{host} has no address")


def context_for_ca(ca: bytes) -> ssl.SSLContext:
    """Trusts this CA file alone, and all that is in it, an intermediate too, as etcd and gRPC do; without what Python
    3.13 asks of a CA by default. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # what is no ASCII stands between the certificates, as words for people
    if authorities := ca.decode("ascii", "ignore"):
        context.load_verify_locations(cadata=authorities)
    return context


def client_context(credentials: Credentials) -> ssl.SSLContext:
    """Raises OSError."""
    context = context_for_ca(credentials.ca)
    context.set_alpn_protocols([ALPN])
    # Python's ssl reads a key from a file alone: this one is in memory, without a name.
    descriptor = os.memfd_create("client")
    try:
        os.write(descriptor, credentials.cert + b"\n" + credentials.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


class TlsStream:
    """The client's side. All but `cancel` are for one thread, and raise OSError; ssl.SSLError is one."""

    def __init__(self, connection: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self._socket = connection
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._read = bytearray(_READ_BYTES)

    def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # the other side is told why
                raise
            else:
                break
        self._flush()
        if self._tls.selected_alpn_protocol() != ALPN:
            raise OSError("it speaks TLS, but not HTTP/2")

    def send(self, content: bytes) -> None:
        self._tls.write(content)
        self._flush()

    def receive(self, space: memoryview) -> int:
        """Fills as much of `space` as is there, and waits only where nothing is."""
        count = 0
        while count < len(space):
            try:
                more = int(self._tls.read(len(space) - count, space[count:]))
            except ssl.SSLWantReadError:
                if count:
                    break
                self._fill()
            else:
                if not more:
                    break
                count += more
        if not count:
            raise ConnectionResetError("socket closed")
        return count

    def cancel(self) -> None:
        """From any thread, at any time: whoever waits gets an error."""
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _fill(self) -> None:
        count = self._socket.recv_into(self._read)
        if not count:
            raise ConnectionResetError("socket closed")
        self._incoming.write(memoryview(self._read)[:count])

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())
