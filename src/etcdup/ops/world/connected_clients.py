"""Observe the clients of members: which ones are connected, and which ones are rejected while the old CA is dropped."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from etcdup.core.certs.ca_rotation import hosts_dropping_old_ca
from etcdup.core.certs.connected_clients import CLIENT_RETRY, last_rejections, members_without_old_ca
from etcdup.core.members.endpoints import replaces_all_endpoints
from etcdup.core.members.member_list import client_ports, host_of
from etcdup.core.observed.connections import (
    Client,
    HostConnections,
    clients_of_members,
    connections_argv,
    parse_connections,
)
from etcdup.core.observed.model import Observed
from etcdup.errors import RemoteError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.world import World, read_log_tail

# A client that lost its connection when a member restarted reconnects within seconds. gRPC retries after 1, 1.6 and
# 2.6 s (https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md).
RECONNECT_S = 5.0
# The longest time until a client that lost its connection is seen again. Most are seen within seconds, and the wait
# then ends.
MOVE_S = CLIENT_RETRY.total_seconds()
# Each poll reads the sockets and up to 1000 log lines on each host.
POLL_INTERVAL_S = 0.5


async def observe_clients(world: World, observed: Observed) -> Observed:
    """Add the clients that the next steps depend on. Most runs need none."""
    if replaces_all_endpoints(world.spec, observed):
        observed = replace(observed, clients=await observe_connected_clients(world, observed))
    return await observe_dropping(world, observed)


async def observe_dropping(world: World, observed: Observed) -> Observed:
    """Add the connected, the proved and the rejected clients, if a rotation drops the old CA now.

    A client that was proved once in this run stays proved, whichever member it is connected to later.
    """
    if not hosts_dropping_old_ca(world.spec, observed):
        return observed
    done = members_without_old_ca(world.spec, observed)
    clients = await observe_connected_clients(world, observed)
    world.proved_clients.update(each for name in done for each in clients.get(name, ()))
    accepted = {
        each for found in clients.values() for each in found if each.address in world.accepted_clients
    }
    connected = {each.address for found in clients.values() for each in found}
    rejected = await _read_rejections(world, observed, done, connected)
    proved = frozenset(world.proved_clients | accepted)
    return replace(observed, rejected_clients=rejected, clients=clients, proved_clients=proved)


async def wait_for_rejected_clients(performer: Performer, observed: Observed, heard: set[str]) -> Observed:
    """Wait until clients had the time to reconnect to the members that have just dropped the old CA.

    The guard of the next member reads the clients from the returned observation. `heard` contains the members that
    were waited for before.
    """
    fresh = [name for name in members_without_old_ca(performer.world.spec, observed) if name not in heard]
    heard.update(fresh)
    return await _wait_for_clients(performer, observed, fresh, (), RECONNECT_S) if fresh else observed


async def wait_for_moved_clients(performer: Performer, observed: Observed, name: str) -> None:
    """Wait until the clients that this member had before its restart are proved, or a client is rejected."""
    await _wait_for_clients(performer, observed, [name], observed.clients.get(name, ()), MOVE_S)


async def _wait_for_clients(
    performer: Performer, observed: Observed, names: list[str], moved: Collection[Client], timeout_s: float
) -> Observed:
    """Observe the clients until one is rejected, or all `moved` ones are proved, or the time is over."""
    world, latest = performer.world, observed

    async def is_over() -> bool:
        nonlocal latest
        latest = await observe_dropping(world, latest)
        proved = bool(moved) and latest.proved_clients.issuperset(moved)
        return proved or any(latest.rejected_clients.values())

    for name in names:
        performer.reporter.doing(name, "waiting for clients that use a certificate of the old CA")
    if not any(observed.rejected_clients.values()):
        await wait_until(world.clock, is_over, timeout_s, POLL_INTERVAL_S)
    for name in names:
        performer.reporter.doing(name, "")
    return latest


async def _read_rejections(
    world: World, observed: Observed, names: Collection[str], connected: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Return, by member, the clients that it rejected recently.

    A client that was rejected before this run, and that is connected now, is left out: perhaps it has another
    certificate since. It has to be proved in this run like all other clients.
    """
    world.began = world.began or world.clock.now()
    began = datetime.fromtimestamp(world.began, UTC)
    found = await asyncio.gather(*(_read_last_rejections(world, observed, name) for name in names))
    return {
        name: tuple(
            sorted(address for address, when in each.items() if when >= began or address not in connected)
        )
        for name, each in zip(names, found, strict=True)
    }


async def read_rejected_clients(world: World, observed: Observed) -> dict[str, tuple[str, ...]]:
    """Return, by member, the clients that it rejected recently because a former CA of this cluster signed their
    certificate. All reachable members are read."""
    names = [name for name in observed.reachable() if name not in observed.leaving]
    found = await asyncio.gather(*(_read_last_rejections(world, observed, name) for name in names))
    return {name: tuple(sorted(each)) for name, each in zip(names, found, strict=True)}


async def _read_last_rejections(world: World, observed: Observed, name: str) -> dict[str, datetime]:
    """Return the clients that this member rejected recently, each with the time on the clock of this machine."""
    ahead = timedelta(seconds=observed.reachable()[name].clock_ahead_s)
    since = datetime.fromtimestamp(world.clock.now(), UTC) + ahead - CLIENT_RETRY
    found = last_rejections(await read_log_tail(world, name), since)
    return {address: when - ahead for address, when in found.items()}


async def observe_connected_clients(world: World, observed: Observed) -> dict[str, tuple[Client, ...]]:
    """Return the clients that are connected to each member now. A host that cannot be read is left out."""
    names = list(observed.reachable())
    hosts = {name: host_of(world.spec, observed, name) for name in names}
    ports = {name: client_ports(world.spec, observed, name) for name in names}
    argv = connections_argv(port for each in ports.values() for port in each)

    async def read(name: str) -> HostConnections | None:
        try:
            return parse_connections((await world.hosts[name].run(argv)).stdout)
        except (KeyError, RemoteError):
            return None

    read_all = dict(zip(names, await asyncio.gather(*map(read, names)), strict=True))
    return clients_of_members(hosts, ports, {name: seen for name, seen in read_all.items() if seen})


def members_by_client(clients: Mapping[str, Iterable[Client]]) -> dict[Client, list[str]]:
    """Return the clients, each with the members that it is connected to."""
    found: dict[Client, list[str]] = {}
    for name, each in clients.items():
        for client in each:
            found.setdefault(client, []).append(name)
    return found
