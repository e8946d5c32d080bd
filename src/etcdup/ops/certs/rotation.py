"""The proof of a phase: every link in both directions, by handshakes that are made now (rules 16, 17).

Connections that are open prove nothing: they live on with whatever they began with.
"""

import asyncio
from typing import get_args

from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import LinkPort
from etcdup.core.observed.model import Observed
from etcdup.errors import EtcdupError
from etcdup.ops.certs.link_probe import probe_link
from etcdup.ops.certs.links import probe_links
from etcdup.ops.certs.proof import compare_served, raise_unproved
from etcdup.ops.certs.survey import inspect_served_certs
from etcdup.ops.world.world import World


async def prove_links(world: World, observed: Observed, client: ClientFiles | None) -> int:
    """Each port serves our leaf and takes it, and each member's host reaches both ports of every other member. Returns
    how many handshakes that were. Raises EtcdupError."""
    pki = world.pki.observe()
    served = tuple(compare_served(seen, pki) for seen in await inspect_served_certs(world, client))
    raise_unproved(served)
    asked = [(host, port) for host in world.spec.hosts for port in get_args(LinkPort)]
    taken = await asyncio.gather(*(probe_link(world, host, host, port) for host, port in asked))
    between = await probe_links(world, observed)
    broken = [
        f"{host.name} ({port} port): {why}" for (host, port), why in zip(asked, taken, strict=True) if why
    ]
    broken += [link.problem for link in between if link.why]
    if broken:
        raise EtcdupError(
            broken[0] if len(broken) == 1 else f"{len(broken)} links do not stand a new handshake",
            detail="\n".join(broken) if len(broken) > 1 else "",
            hint="nothing is changed further; `etcdup certs list` shows what is where, `etcdup apply` puts files right",
        )
    return len(served) + len(taken) + len(between)
