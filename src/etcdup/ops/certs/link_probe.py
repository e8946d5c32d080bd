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
from etcdup.remote.etcd.request import TIMEOUT_S, closed, why_no_answer
from etcdup.remote.etcd.tls import context_for_ca

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
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except ForwardForbidden:
        raise
    except EtcdupError as error:
        return error.message
    except OSError as error:
        return closed(error)
    return await why_no_answer(address, reached, target.address, context)


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
