"""Observe the clients of members: which ones are connected, and which ones are rejected while the old CA is dropped."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca
from etcdup.core.certs.connected_clients import CLIENT_RETRY, connected_addresses, rejected_addresses
from etcdup.core.observed.model import Observed
from etcdup.errors import RemoteError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.world import World, read_log_tail

# A client that lost its connection when a member restarted reconnects within seconds. gRPC retries after 1, 1.6 and
# 2.6 s (https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md).
RECONNECT_S = 5.0
# Each poll reads up to 1000 log lines on each host.
LOG_INTERVAL_S = 0.5

ConnectedClients = dict[str, list[str]]


async def observe_rejected_clients(world: World, observed: Observed) -> Mapping[str, tuple[str, ...]]:
    """Return, by member, the addresses of clients that it rejected because the old CA signed their certificate.

    Only members that have dropped the old CA are observed, and only while other hosts still trust it.
    """
    done = _members_without_old_ca(world, observed)
    return await read_rejected_clients(world, observed, done) if done else {}


def _members_without_old_ca(world: World, observed: Observed) -> list[str]:
    """Return the members that run without the old CA while others still trust it."""
    left = hosts_dropping_old_ca(world.spec, observed)
    running = [name for name, seen in observed.reachable().items() if seen.unit.is_running]
    return [name for name in running if name not in left] if left else []


async def wait_for_rejected_clients(performer: Performer, observed: Observed, heard: set[str]) -> Observed:
    """Wait until clients had the time to reconnect to the members that have just dropped the old CA.

    The guard of the next member reads the rejected clients from the returned observation. `heard` contains the
    members that were waited for before.
    """
    world = performer.world
    fresh = [name for name in _members_without_old_ca(world, observed) if name not in heard]
    if not fresh:
        return observed
    heard.update(fresh)

    async def is_any_rejected() -> bool:
        nonlocal observed
        observed = replace(observed, rejected_clients=await observe_rejected_clients(world, observed))
        return any(observed.rejected_clients.values())

    for name in fresh:
        performer.reporter.doing(name, "waiting for clients that use a certificate of the old CA")
    if not any(observed.rejected_clients.values()):
        await wait_until(world.clock, is_any_rejected, RECONNECT_S, LOG_INTERVAL_S)
    for name in fresh:
        performer.reporter.doing(name, "")
    return observed


async def read_rejected_clients(
    world: World, observed: Observed, names: Iterable[str] = ()
) -> dict[str, tuple[str, ...]]:
    """Return, by member, the clients that it rejected recently because a former CA of this cluster signed their
    certificate. Without `names` all reachable members are read."""

    async def read(name: str) -> tuple[str, ...]:
        host_time = world.clock.now() + observed.reachable()[name].clock_ahead_s
        since = datetime.fromtimestamp(host_time, UTC) - CLIENT_RETRY
        return rejected_addresses(await read_log_tail(world, name), since)

    chosen = [name for name in names or observed.reachable() if name not in observed.leaving]
    return dict(zip(chosen, await asyncio.gather(*map(read, chosen)), strict=True))


async def observe_connected_clients(world: World) -> ConnectedClients:
    """Return the addresses that are connected to a client port, each with the members that it is connected to.

    The hosts of members are left out. So are the connections of etcdup, because they come from those hosts.
    """
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
