"""Looks for the clients of members: who is connected, and who is turned away while the old CA is dropped."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca
from etcdup.core.certs.connected_clients import CLIENT_RETRY, connected_addresses, rejected_addresses
from etcdup.core.observed.model import Observed
from etcdup.errors import RemoteError
from etcdup.ops.world.member_log import read_log_tail
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.world import World

# A client that lost its member at a restart is back within seconds: gRPC tries again after 1, 1.6 and 2.6 s.
RECONNECT_S = 5.0
POLL_S = 0.5

ConnectedClients = dict[str, list[str]]


async def observe_rejected_clients(world: World, observed: Observed) -> Observed:
    """The same, and whom members that dropped the old CA turned away; asked only while others still trust it."""
    done = _members_without_old_ca(world, observed)
    return (
        replace(observed, rejected_clients=await read_rejected_clients(world, observed, done))
        if done
        else observed
    )


def _members_without_old_ca(world: World, observed: Observed) -> list[str]:
    """Members that run without the old CA, while others still trust it."""
    left = hosts_dropping_old_ca(world.spec, observed)
    running = [name for name, seen in observed.reachable().items() if seen.unit.is_running]
    return [name for name in running if name not in left] if left else []


async def wait_for_rejected_clients(performer: Performer, observed: Observed, heard: set[str]) -> Observed:
    """Gives the clients of members that dropped the old CA since `heard` the time to come back to them, before it is
    decided on the next member: who could not is in what is returned."""
    world = performer.world
    fresh = [name for name in _members_without_old_ca(world, observed) if name not in heard]
    if not fresh:
        return observed
    heard.update(fresh)
    for name in fresh:
        performer.reporter.doing(name, "listening for clients that show a certificate of the old CA")
    end = world.clock.now() + RECONNECT_S
    while world.clock.now() < end and not any(observed.rejected_clients.values()):
        await world.clock.sleep(POLL_S)
        observed = await observe_rejected_clients(world, observed)
    for name in fresh:
        performer.reporter.doing(name, "")
    return observed


async def read_rejected_clients(
    world: World, observed: Observed, names: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """By member, whom it refused of late because a former CA of this cluster signed what they showed."""

    async def one(name: str) -> tuple[str, ...]:
        theirs = world.clock.now() + observed.reachable()[name].clock_ahead_s
        since = datetime.fromtimestamp(theirs, UTC) - CLIENT_RETRY
        return rejected_addresses(await read_log_tail(world, name), since)

    chosen = [name for name in names or observed.reachable() if name not in observed.leaving]
    return dict(zip(chosen, await asyncio.gather(*map(one, chosen)), strict=True))


async def observe_connected_clients(world: World) -> ConnectedClients:
    """Addresses that have a connection to a client port, each with the members that it has it to. Hosts of members are
    left out, and so are this machine's own ways, which end on them."""
    found: ConnectedClients = {}
    ours = {host.address for host in world.spec.hosts}
    for host in world.spec.hosts:
        try:
            tables = await world.hosts[host.name].run(["cat", "/proc/net/tcp", "/proc/net/tcp6"])
        except (KeyError, RemoteError):
            continue
        for address in connected_addresses(tables.stdout, world.spec.client_port(host)):
            if address not in ours:
                found.setdefault(address, []).append(host.name)
    return found
