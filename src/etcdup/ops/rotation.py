"""The proof of a phase: every link in both directions, by handshakes that are made now (rules 16, 17).

Connections that are open prove nothing: they live on with whatever they began with.
"""

import asyncio
import ssl
from pathlib import Path

from etcdup.core.exports import ClientFiles
from etcdup.core.observed import Observed
from etcdup.core.spec import HostSpec
from etcdup.errors import EtcdupError
from etcdup.ops.renewal import judged, raise_unproved
from etcdup.ops.survey import links, served_by, target_of
from etcdup.ops.world import World

TIMEOUT_S = 5.0


async def prove_links(world: World, observed: Observed, client: ClientFiles | None) -> int:
    """Each port serves our leaf, each member takes our leaf on both ports, and each member's host reaches every other
    member. Returns how many handshakes that were. Raises EtcdupError."""
    pki = world.pki.see()
    served = tuple(judged(seen, pki) for seen in await served_by(world, client))
    raise_unproved(served)
    asked = [(host, kind) for host in world.spec.hosts for kind in ("server", "peer")]
    taken = await asyncio.gather(*(_takes(world, host, kind) for host, kind in asked))
    between = await links(world, observed)
    broken = [
        f"{host.name} ({kind} port): {why}" for (host, kind), why in zip(asked, taken, strict=True) if why
    ]
    broken += [f"{link.source} does not reach {link.target}: {link.why}" for link in between if link.why]
    if broken:
        raise EtcdupError(
            broken[0] if len(broken) == 1 else f"{len(broken)} links do not stand a new handshake",
            detail="\n".join(broken) if len(broken) > 1 else "",
            hint="nothing is changed further; `etcdup certs list` shows what is where, `etcdup apply` puts files right",
        )
    return len(served) + len(taken) + len(between)


async def _takes(world: World, host: HostSpec, kind: str) -> str:
    """Why a member does not answer who comes with its own leaf and trusts our CA file alone; empty if it does.

    Its own, since a peer is also judged by the address that it comes from (rule 18), and we come from its host.
    """
    spec, seen = world.spec, world.pki.see()
    cert = Path(seen.certs[f"{kind}/{host.name}"].path)
    port = spec.client_port(host) if kind == "server" else spec.peer_port(host)
    try:
        context = ssl.create_default_context(cadata=world.pki.trust("ca").decode())
        context.load_cert_chain(cert, cert.with_name(f"{cert.stem}-key.pem"))
        address, reached = await target_of(world, host, port)
        async with asyncio.timeout(TIMEOUT_S):
            status = await _asks(address, reached, host.address, context)
    except TimeoutError:
        return f"no answer within {TIMEOUT_S:.0f} s"
    except (OSError, EtcdupError) as error:
        return f"it turned a new handshake down: {error}"
    return "" if status == b"200" else f"it answered {status.decode(errors='replace') or 'nothing'}"


async def _asks(address: str, port: int, name: str, context: ssl.SSLContext) -> bytes:
    """The status of /version, which both ports answer: with TLS 1.3 only an answer says that a client was taken."""
    reader, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=name)
    try:
        writer.write(f"GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        return (await reader.readline())[9:12]
    finally:
        writer.close()
