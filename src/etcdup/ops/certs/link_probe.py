"""Probe a link: a TLS handshake in which both sides verify each other, and one HTTP answer (rules 16-19).

With TLS 1.3 the client's handshake ends before the server has verified the client certificate. Only an answer proves
that the server accepts it.
"""

import asyncio
import ssl

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, ForwardForbidden, PkiError
from etcdup.ops.certs.survey import resolve_target
from etcdup.ops.world.world import World
from etcdup.remote.etcd.tls import context_for_ca

TIMEOUT_S = 5.0
_TRUST = {"client": "ca", "peer": "peer-ca"}
_LEAF = {"client": "server", "peer": "peer"}


async def probe_link(world: World, source: HostSpec, target: HostSpec, port: LinkPort) -> str:
    """Return why a port of `target` does not answer `source`, or an empty text if it does. Raises ForwardForbidden.

    The connection uses the leaf certificate that `source` has for that port, and goes through the host of `source`:
    `target` verifies the address of the client as well (rule 18).
    """
    number = world.spec.client_port(target) if port == "client" else world.spec.peer_port(target)
    try:
        context = _context(world, source, port)
        async with asyncio.timeout(TIMEOUT_S):
            address, reached = await _resolve_route(world, source, target, number)
            status = await _request_status(address, reached, target.address, context)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid: {error.verify_message}"
    except ssl.SSLError as error:
        return f"it rejected the handshake: {_alert_text(error)}"
    except ForwardForbidden:
        raise
    except EtcdupError as error:
        return error.message
    except OSError as error:
        return f"it closed the connection: {error.strerror or error}"
    if not status:
        return (
            "it closed the connection: no process listens on the port, or it rejects the certificate "
            f"of {source.name}"
        )
    return "" if status == b"200" else f"it answered {status.decode(errors='replace')}"


def _context(world: World, source: HostSpec, port: LinkPort) -> ssl.SSLContext:
    """Return a TLS context that trusts only the CA file of the cluster. Raises PkiError."""
    context = context_for_ca(world.pki.ca_file(_TRUST[port]))
    cert, key = world.pki.paths(f"{_LEAF[port]}/{source.name}")
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # also ssl.SSLError
        raise PkiError(f"cannot use {cert} and its key: {error.strerror or error}") from None
    return context


async def _resolve_route(world: World, source: HostSpec, target: HostSpec, port: int) -> tuple[str, int]:
    """Return the local end of a route to `target`. From its own host it is the address that the member listens on."""
    if source.name == target.name:
        return await resolve_target(world, target, port)
    return await world.hosts[source.name].forward(target.address, port)


async def _request_status(address: str, port: int, name: str, context: ssl.SSLContext) -> bytes:
    """Return the HTTP status of /version, which both ports answer."""
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return (await reader.readline())[9:12]
    finally:
        writer.close()


def _alert_text(error: ssl.SSLError) -> str:
    """Return the TLS alert of the other side: `bad certificate` for `TLSV1_ALERT_BAD_CERTIFICATE`."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return reason.rpartition(" alert ")[2]
