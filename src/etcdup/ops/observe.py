"""Looks at everything at once, read-only. One bad host never hides the others."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from etcdup.core.files import desired_files
from etcdup.core.layout import layout_of
from etcdup.core.observed import (
    HostSeen,
    MemberSeen,
    MemberSilent,
    Observed,
    PkiSeen,
    Unreachable,
)
from etcdup.core.parse import parse_probe
from etcdup.core.probe import probe_argv
from etcdup.core.spec import HostSpec
from etcdup.errors import EtcdupError, RemoteError
from etcdup.ops.world import World
from etcdup.remote.etcd_errors import EtcdUntrusted

PROBE_TIMEOUT_S = 20.0
STATUS_TIMEOUT_S = 2.0


async def observe(world: World) -> Observed:
    """One moment of the world. A host that fails on the way becomes Unreachable, a mute member MemberSilent."""
    pki = world.pki.see()
    looked = await asyncio.gather(*(_look(world, host, pki) for host in world.spec.hosts))
    names = [host.name for host in world.spec.hosts]
    return Observed(
        at=datetime.fromtimestamp(world.clock.now(), UTC),
        hosts=dict(zip(names, (host for host, _ in looked), strict=True)),
        members=dict(zip(names, (member for _, member in looked), strict=True)),
        pki=pki,
        binaries=world.binaries,
    )


async def look_again_at_members(world: World, before: Observed) -> Observed:
    """What the members say now; everything else as it was seen before. Costs their hosts next to nothing, so it
    may be asked many times a second of machines that have just begun to start etcd."""
    names = list(before.members)
    asked = await asyncio.gather(*(_ask(world, name) for name in names))
    return replace(before, members=dict(zip(names, asked, strict=True)))


async def _look(
    world: World, host: HostSpec, pki: PkiSeen
) -> tuple[HostSeen | Unreachable, MemberSeen | MemberSilent]:
    seen = await _probe(world, host, pki)
    if isinstance(seen, HostSeen) and not seen.unit.is_running:
        return seen, MemberSilent("etcd does not run")
    return seen, await _ask(world, host.name)


async def _probe(world: World, host: HostSpec, pki: PkiSeen) -> HostSeen | Unreachable:
    if host.name in world.unreachable:
        return world.unreachable[host.name]
    layout = layout_of(world.spec, host)
    files = tuple(file.path for file in desired_files(world.spec, host, layout, "", pki))
    # A local member's siblings listen on the same ports, and whose those are takes long to find out.
    spec = world.spec
    ports = () if host.root else (spec.client_port(host), spec.peer_port(host), spec.metrics_port(host))
    asked_at = world.clock.now()
    try:
        result = await world.hosts[host.name].run(probe_argv(layout, files, ports), timeout_s=PROBE_TIMEOUT_S)
        return parse_probe(host.name, result.stdout, layout, asked_at, world.clock.now())
    except RemoteError as error:
        return Unreachable(host.name, error.message, error.hint)
    except ValueError as error:
        return Unreachable(host.name, str(error), "does the login shell print something of its own?")


async def _ask(world: World, name: str) -> MemberSeen | MemberSilent:
    try:
        client = await world.etcd(name)
        return await client.status(timeout_s=STATUS_TIMEOUT_S)
    except EtcdupError as error:
        lasting = isinstance(error, EtcdUntrusted)
        return MemberSilent(error.message.removeprefix(f"{name}: "), error.hint, lasting)
