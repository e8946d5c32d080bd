"""Observe all hosts and members at once, read-only. A failure of one host does not hide the others."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from etcdup.core.members.leaving_folders import with_own_folders
from etcdup.core.members.member_list import former_hosts, is_known_address, leaving_host, stray_members
from etcdup.core.members.quorum import is_electing, starting_members
from etcdup.core.members.superseded import distrust_markers, explain_superseded
from etcdup.core.members.waiting import with_waiting_hosts
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import HostSpec
from etcdup.ops.backups.snapshot import find_snapshots
from etcdup.ops.polling import wait_until
from etcdup.ops.world.activity import observe_activity
from etcdup.ops.world.connected_clients import observe_clients
from etcdup.ops.world.observe_auth import observe_access, observe_auth
from etcdup.ops.world.observe_certs import observe_other_leaves
from etcdup.ops.world.observe_host import observe_host
from etcdup.ops.world.observe_members import observe_named_members
from etcdup.ops.world.observe_peer_ports import observe_peer_ports
from etcdup.ops.world.superseded_record import read_superseded
from etcdup.ops.world.world import World

# The longest wait for a member that starts, and the number of election timeouts that an election may take.
STEADY_S = 10.0
ELECTIONS = 4
_UNKNOWN = "no certificate in the PKI has its address, and etcdup does not connect to an address that a member reports"
_UNKNOWN_HINT = "run `etcdup check`. If the member is yours, add its host to cluster.yaml"


async def observe(world: World) -> Observed:
    """Return one observation of all hosts, all members and the PKI.

    A host that fails during the observation becomes Unreachable. A member that does not respond becomes
    MemberSilent.
    """
    found = await _observe_all_hosts(world)
    auth, denied, leaves, (blocked, firewalls) = await asyncio.gather(
        observe_auth(world, found),
        observe_access(world, found),
        observe_other_leaves(world, found),
        observe_peer_ports(world, found),
    )
    found = replace(
        with_waiting_hosts(world.spec, explain_superseded(world.spec, distrust_markers(world.spec, found))),
        auth=auth,
        denied=denied,
        other_leaves=leaves,
        blocked_ports=blocked,
        firewalls=firewalls,
        repaired=world.repaired,
    )
    found = await observe_clients(world, found)
    return await observe_activity(world, found) if world.reads_activity else found


async def _observe_all_hosts(world: World) -> Observed:
    """Observe the hosts of cluster.yaml, and then, round by round, the hosts of members that it does not name.

    A member list or a certificate names such a host. A host of one round may name more hosts for the next round.
    """
    at, pki = datetime.fromtimestamp(world.clock.now(), UTC), world.pki.observe()
    snapshots = find_snapshots(world.snapshots, world.spec.name)
    superseded = read_superseded(world.superseded_file)
    hosts: dict[str, HostSeen | Unreachable] = {}
    members: dict[str, MemberSeen | MemberSilent] = {}
    leaving: dict[str, HostSpec] = {}
    host_specs = list(world.spec.hosts)
    while True:
        seen = await asyncio.gather(*(observe_host(world, each, pki) for each in host_specs))
        for host_spec, (host, member) in zip(host_specs, seen, strict=True):
            own = with_own_folders(world.spec, host_spec, host) if host_spec.name in leaving else host_spec
            if own != host_spec:
                leaving[own.name] = world.extra_hosts[own.name] = own
                host, member = await observe_host(world, own, pki)
            if host_spec.name in leaving and _is_observed(host_spec, host, hosts, leaving):
                world.other_names.add(host_spec.name)
                del leaving[host_spec.name], world.extra_hosts[host_spec.name]
                continue
            hosts[host_spec.name], members[host_spec.name] = host, member
        found = Observed(at, hosts, members, pki, world.binaries, leaving, snapshots, superseded=superseded)
        host_specs = _hosts_to_add(world, found)
        if not host_specs:
            return found
        leaving |= {each.name: each for each in host_specs}
        world.extra_hosts |= leaving
        unknown = [each.name for each in host_specs if not is_known_address(pki, each.address)]
        hosts |= {name: Unreachable(name, _UNKNOWN, _UNKNOWN_HINT) for name in unknown}
        members |= {name: MemberSilent(_UNKNOWN, _UNKNOWN_HINT) for name in unknown}
        host_specs = [each for each in host_specs if each.name not in unknown]
        await asyncio.gather(*(world.connect_host(each) for each in host_specs))


def _is_observed(
    host: HostSpec,
    seen: HostSeen | Unreachable,
    hosts: Mapping[str, HostSeen | Unreachable],
    leaving: Mapping[str, HostSpec],
) -> bool:
    """Return whether this machine is observed under another name. Members on this machine have a root each."""
    machine = seen.machine if isinstance(seen, HostSeen) else None
    same = (
        name
        for name, other in hosts.items()
        if machine is not None and isinstance(other, HostSeen) and other.machine == machine
    )
    return host.root is None and any(name not in leaving or leaving[name].root is None for name in same)


def _hosts_to_add(world: World, found: Observed) -> list[HostSpec]:
    """Return the hosts of members that cluster.yaml does not name and that are not observed yet."""
    strays = (leaving_host(world.spec, each) for each in stray_members(world.spec, found.member_list))
    named = {each.name: each for each in (*former_hosts(world.spec, found), *strays)} | world.extra_hosts
    known = found.hosts.keys() | world.fenced | world.other_names
    return [each for name, each in named.items() if name not in known]


async def wait_until_steady(world: World, observed: Observed) -> Observed:
    """Return a new observation after an election has ended, or after members that were starting have started.

    A plan that is made during an election is refused, although the reason is gone a moment later. etcdup waits at
    most once per run, since a wait may change nothing. A follower starts an election within two election timeouts.
    It needs the same time again after a split vote (Raft, section 5.2: https://raft.github.io/raft.pdf).
    """
    if world.is_unsteady or not _is_in_motion(observed):
        return observed
    election_s = min(ELECTIONS * world.spec.etcd.election_ms / 1000, STEADY_S)
    latest = observed

    async def is_steady() -> bool:
        nonlocal latest
        latest = await observe_named_members(world, latest, [*latest.answering(), *starting_members(latest)])
        return not _is_in_motion(latest)

    if await wait_until(world.clock, is_steady, STEADY_S if starting_members(observed) else election_s):
        return await observe(world)
    world.is_unsteady = True
    return observed


def _is_in_motion(observed: Observed) -> bool:
    return is_electing(observed) or bool(starting_members(observed))
