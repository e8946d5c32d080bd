"""Observe the ports of members that other hosts do not reach."""

import asyncio
from collections.abc import Collection

from etcdup.core.members.peer_ports import changed_hosts, tried_ports
from etcdup.core.observed.model import Observed
from etcdup.core.observed.peer_ports import BlockedPort, parse_peer_ports, peer_ports_argv
from etcdup.errors import RemoteError
from etcdup.ops.world.observe_host import PROBE_TIMEOUT_S
from etcdup.ops.world.world import World


async def observe_peer_ports(world: World, found: Observed) -> tuple[tuple[BlockedPort, ...], dict[str, str]]:
    """Return the ports of members that other hosts do not reach, if a host is new or moves, and the firewalls.

    Hosts that etcdup does not reach are not tried: they may be down.
    """
    seen, spec = found.reachable(), world.spec
    new = changed_hosts(spec, found) | {world.replaced, world.repaired}
    tried = {
        host.name: {
            at: name
            for at, name in tried_ports(spec, host, new).items()
            if name in seen and (host.name, *at) not in world.reached_ports
        }
        for host in spec.hosts
        if host.name in seen
    }
    answers = await asyncio.gather(*(try_ports(world, name, names) for name, names in tried.items() if names))
    return tuple(port for _, _, ports in answers for port in ports), {name: wall for name, wall, _ in answers}


async def try_ports(
    world: World, name: str, names: dict[tuple[str, int], str], running: Collection[str] = ()
) -> tuple[str, str, tuple[BlockedPort, ...]]:
    """Return the host, its firewall and the ports that it does not reach. World remembers the ports that it reaches.

    A connection to a member on a `running` host is blocked if it is refused.
    """
    try:
        result = await world.hosts[name].run(peer_ports_argv(list(names)), timeout_s=PROBE_TIMEOUT_S)
        firewall, blocked = parse_peer_ports(name, result.check().stdout, names, running)
    except RemoteError:  # The next observation reports a lost connection, or tries the ports again.
        return name, "", ()
    unreached = {(each.target, each.port) for each in blocked}
    world.reached_ports |= {(name, *at) for at, target in names.items() if (target, at[1]) not in unreached}
    return name, firewall, blocked
