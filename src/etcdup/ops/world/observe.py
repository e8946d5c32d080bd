"""Looks at everything at once, read-only. One bad host never hides the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypedDict

from etcdup.core.host.files import desired_files
from etcdup.core.members.member_list import former_hosts, leaving_host, member_list, stray_members
from etcdup.core.members.quorum import is_electing, starting_members
from etcdup.core.members.superseded import explain_superseded
from etcdup.core.observed.model import (
    HostSeen,
    MemberSeen,
    MemberSilent,
    Observed,
    PkiSeen,
    UnitSeen,
    Unreachable,
)
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.probe import probe_argv
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, RemoteError
from etcdup.ops.backups.snapshot import find_snapshots
from etcdup.ops.world.connected_clients import observe_rejected_clients
from etcdup.ops.world.world import World
from etcdup.remote.etcd.errors import EtcdUntrusted

PROBE_TIMEOUT_S = 20.0
STATUS_TIMEOUT_S = 2.0
POLL_S = 0.05
# How long a member that starts is waited for, and for how many election timeouts an election.
STEADY_S = 10.0
ELECTIONS = 4


class _HostsSeen(TypedDict):
    hosts: dict[str, HostSeen | Unreachable]
    members: dict[str, MemberSeen | MemberSilent]


async def observe(world: World) -> Observed:
    """One moment of the world. A host that fails on the way becomes Unreachable, a mute member MemberSilent.

    Members that cluster.yaml does not name are looked for where the member list says.
    """
    pki = world.pki.observe()
    observed = Observed(
        at=datetime.fromtimestamp(world.clock.now(), UTC),
        pki=pki,
        binaries=world.binaries,
        snapshots=find_snapshots(world.snapshots, world.spec.name),
        **await _observe_hosts(world, world.spec.hosts, pki),
    )
    observed = explain_superseded(world.spec, await _observe_leaving(world, observed))
    return await observe_rejected_clients(world, await _observe_auth(world, observed))


async def _observe_leaving(world: World, observed: Observed) -> Observed:
    places = {host.name: host for host in former_hosts(world.spec, observed)}
    places |= {
        each.name: each
        for each in (leaving_host(world.spec, s) for s in stray_members(world.spec, member_list(observed)))
    }
    places |= world.extra_hosts
    known = observed.hosts.keys() | world.fenced
    leaving = [host for name, host in places.items() if name not in known]
    if not leaving:
        return observed
    world.extra_hosts |= {host.name: host for host in leaving}
    await asyncio.gather(*(world.connect_host(host) for host in leaving))
    looked = await _observe_hosts(world, leaving, observed.pki)
    more = replace(
        observed,
        hosts={**observed.hosts, **looked["hosts"]},
        members={**observed.members, **looked["members"]},
        leaving={**observed.leaving, **{host.name: host for host in leaving}},
    )
    # Members that were found by their certificates may know of more.
    return await _observe_leaving(world, more)


async def _observe_auth(world: World, observed: Observed) -> Observed:
    """Asked only where the answer matters: on the way from 3.4 to 3.5 (rule 45)."""
    old = [name for name, seen in observed.answering().items() if seen.version.series == (3, 4)]
    if not old or world.spec.version.series == (3, 4):
        return observed
    try:
        client = await world.etcd(old[0])
        return replace(observed, auth=await client.is_auth_enabled(timeout_s=STATUS_TIMEOUT_S))
    except EtcdupError:
        return observed


async def _observe_hosts(world: World, hosts: Sequence[HostSpec], pki: PkiSeen) -> _HostsSeen:
    looked = await asyncio.gather(*(_observe_host(world, host, pki) for host in hosts))
    names = [host.name for host in hosts]
    return {
        "hosts": dict(zip(names, (host for host, _ in looked), strict=True)),
        "members": dict(zip(names, (member for _, member in looked), strict=True)),
    }


async def observe_members(world: World, before: Observed) -> Observed:
    """What the members say now; everything else as it was seen before. Costs their hosts next to nothing, so it
    may be asked many times a second of machines that have just begun to start etcd."""
    return await _observe_members(world, before, list(before.members))


async def wait_until_steady(world: World, observed: Observed) -> Observed:
    """Another look, once an election, or the start of a member that others wait for, is over. What is planned in the
    middle of one would be refused, and what is told of it is not so a moment later.

    Not for long, and not twice: nothing may come of it. A follower stands for election within two election timeouts,
    and again as late where the votes were split (Raft).
    """
    if world.is_unsteady or not _is_in_motion(observed):
        return observed
    election_s = min(ELECTIONS * world.spec.etcd.election_ms / 1000, STEADY_S)
    ends = world.clock.now() + (STEADY_S if starting_members(observed) else election_s)
    asked = observed
    while _is_in_motion(asked):
        if world.clock.now() >= ends:
            world.is_unsteady = True
            return observed
        await world.clock.sleep(POLL_S)
        asked = await _observe_members(world, asked, [*asked.answering(), *starting_members(asked)])
    return await observe(world)


def _is_in_motion(observed: Observed) -> bool:
    return is_electing(observed) or bool(starting_members(observed))


async def _observe_members(world: World, before: Observed, names: Sequence[str]) -> Observed:
    asked = await asyncio.gather(*(_observe_member(world, name) for name in names))
    return replace(before, members={**before.members, **dict(zip(names, asked, strict=True))})


async def _observe_host(
    world: World, host: HostSpec, pki: PkiSeen
) -> tuple[HostSeen | Unreachable, MemberSeen | MemberSilent]:
    seen = await _probe(world, host, pki)
    if isinstance(seen, HostSeen) and not seen.unit.is_running:
        return seen, MemberSilent(_why_silent(seen.unit))
    return seen, await _observe_member(world, host.name)


def _why_silent(unit: UnitSeen) -> str:
    if unit.active == "activating" and unit.restarts:
        return f"etcd does not stay up: systemd has started it {unit.restarts + 1} times"
    return "etcd does not run"


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
        argv = probe_argv(layout, files, ports)
        result = await world.hosts[host.name].run(argv, timeout_s=PROBE_TIMEOUT_S)
        return parse_probe(host.name, result.stdout, layout, asked_at, world.clock.now())
    except RemoteError as error:
        return Unreachable(host.name, error.message, error.hint)
    except ValueError as error:
        return Unreachable(host.name, str(error), "does the login shell print something of its own?")


async def _observe_member(world: World, name: str) -> MemberSeen | MemberSilent:
    try:
        client = await world.etcd(name)
        return await client.status(timeout_s=STATUS_TIMEOUT_S)
    except EtcdupError as error:
        lasting = isinstance(error, EtcdUntrusted)
        return MemberSilent(error.message.removeprefix(f"{name}: "), error.hint, lasting)
