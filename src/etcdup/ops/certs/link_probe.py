"""Whether a member takes another: a handshake in which both judge each other, and one answer (rules 16-19).

With TLS 1.3 the side that dials is done before the other has judged it: only an answer says that it was taken.
"""

import asyncio
import ssl

from etcdup.core.certs.inventory import LinkPort
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, PkiError
from etcdup.ops.certs.survey import resolve_target
from etcdup.ops.world.world import World
from etcdup.remote.etcd.tls import context_for_ca

TIMEOUT_S = 5.0
_TRUST = {"client": "ca", "peer": "peer-ca"}
_LEAF = {"client": "server", "peer": "peer"}


async def probe_link(world: World, source: HostSpec, target: HostSpec, port: LinkPort) -> str:
    """Why `target` does not answer who comes by way of `source`'s host with the leaf that `source` has for that port;
    empty if it does. It judges the address that it is reached from as well (rule 18)."""
    number = world.spec.client_port(target) if port == "client" else world.spec.peer_port(target)
    try:
        context = _context(world, source, port)
        async with asyncio.timeout(TIMEOUT_S):
            address, reached = await _resolve_route(world, source, target, number)
            status = await _request_status(address, reached, target.address, context)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except ssl.SSLCertVerificationError as error:
        return f"its certificate does not pass: {error.verify_message}"
    except ssl.SSLError as error:
        return f"it turned the handshake down: {_alert_text(error)}"
    except EtcdupError as error:
        return error.message
    except OSError as error:
        return f"it ended the connection: {error.strerror or error}"
    if not status:
        return f"it ended the connection: nothing listens there, or it does not take the certificate of {source.name}"
    return "" if status == b"200" else f"it answered {status.decode(errors='replace')}"


def _context(world: World, source: HostSpec, port: LinkPort) -> ssl.SSLContext:
    """Trusts the CA file of the cluster alone. Raises PkiError."""
    context = context_for_ca(world.pki.ca_file(_TRUST[port]))
    cert, key = world.pki.paths(f"{_LEAF[port]}/{source.name}")
    try:
        context.load_cert_chain(cert, key)
    except OSError as error:  # ssl.SSLError too
        raise PkiError(f"{cert} and its key cannot be used here: {error.strerror or error}") from None
    return context


async def _resolve_route(world: World, source: HostSpec, target: HostSpec, port: int) -> tuple[str, int]:
    """To itself a host comes by the address that its member listens on."""
    if source.name == target.name:
        return await resolve_target(world, target, port)
    return await world.hosts[source.name].forward(target.address, port)


async def _request_status(address: str, port: int, name: str, context: ssl.SSLContext) -> bytes:
    """The status of /version, which both ports answer."""
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return (await reader.readline())[9:12]
    finally:
        writer.close()


def _alert_text(error: ssl.SSLError) -> str:
    """`TLSV1_ALERT_BAD_CERTIFICATE` is `bad certificate`: what the other side said."""
    reason = (error.reason or str(error)).lower().replace("_", " ")
    return reason.rpartition(" alert ")[2]
