"""At which address this machine reaches a port of a member: through SSH, or directly."""

import asyncio

from etcdup.core.spec.model import HostSpec, Spec, bracketed
from etcdup.errors import ForwardForbidden
from etcdup.ops.world.metrics import reached_address
from etcdup.remote.host import Host

# How long etcdup waits for a member without SSH, before it uses the SSH connection.
DIRECT_TIMEOUT_S = 2.0


async def resolve_member_target(spec: Spec, host: HostSpec, reached: Host | None) -> str:
    """Return `address:port` at which this machine reaches the member's API.

    The connection goes through the host's SSH connection, if there is one. Without one it goes directly to the member,
    so that etcdup can report whether the member answers although SSH fails.
    """
    address, port = await resolve_port(host, spec.client_port(host), reached)
    return f"{bracketed(address)}:{port}"


async def resolve_port(host: HostSpec, port: int, reached: Host | None) -> tuple[str, int]:
    """Return the address and port for a connection, through the host's SSH connection if there is one.

    If sshd forbids that, it is the port of the member itself. Raises ForwardForbidden if that is not reachable either.
    """
    if reached is None or host.local:
        return host.address, port
    listen = host.listen_address or host.address
    try:
        return await reached.forward(reached_address(listen), port)
    except ForwardForbidden as error:
        await _require_direct(host, port, error)
        return host.address, port


async def _require_direct(host: HostSpec, port: int, forbidden: ForwardForbidden) -> None:
    """Connect to the port without SSH. Raises ForwardForbidden if that fails.

    A refused connection shows that packets arrive, and that no program listens on the port yet.
    """
    where = f"{bracketed(host.address)} port {port}"
    try:
        async with asyncio.timeout(DIRECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host.address, port)
        writer.close()
    except ConnectionRefusedError:
        why, lasting = f"no program listens on {where}", False
    except (OSError, TimeoutError):
        why, lasting = f"this machine does not reach {where}", True
    else:
        return
    hint = f"{forbidden.hint}. Or open that port to this machine, then etcdup uses it without SSH"
    raise ForwardForbidden(host.name, f"{forbidden.message}, and {why}", hint=hint, lasting=lasting)
