"""Observe all hosts and members at once, read-only. A failure of one host does not hide the others."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from etcdup.core.etcd.log_messages import explain_starts
from etcdup.core.host.files import desired_paths
from etcdup.core.host.folders import observed_folders
from etcdup.core.host.port_faults import listen_pattern
from etcdup.core.host.programs import program_names
from etcdup.core.members.leaving_folders import with_own_folders
from etcdup.core.members.member_list import (
    former_hosts,
    is_known_address,
    leaving_host,
    stray_members,
    with_host_names,
)
from etcdup.core.members.peer_ports import changed_hosts, tried_ports
from etcdup.core.members.quorum import is_electing, starting_members
from etcdup.core.members.superseded import distrust_markers, explain_superseded
from etcdup.core.members.waiting import with_waiting_hosts
from etcdup.core.observed.model import (
    BlockedPort,
    CertSeen,
    HostSeen,
    MemberSeen,
    MemberSilent,
    Observed,
    PkiSeen,
    UnitSeen,
    Unreachable,
)
from etcdup.core.observed.parse_marker import UnreadableMarker
from etcdup.core.observed.parse_probe import parse_probe
from etcdup.core.observed.peer_ports import parse_peer_ports, peer_ports_argv
from etcdup.core.observed.probe import probe_argv
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.visible import one_line
from etcdup.errors import EtcdupError, ForwardForbidden, PkiError, RemoteError
from etcdup.ops.backups.snapshot import find_snapshots
from etcdup.ops.polling import wait_until
from etcdup.ops.world.activity import observe_activity
from etcdup.ops.world.connected_clients import observe_clients
from etcdup.ops.world.superseded_record import read_superseded
from etcdup.ops.world.world import World, read_starts
from etcdup.remote.host import Result

PROBE_TIMEOUT_S = 20.0
STATUS_TIMEOUT_S = 2.0
# More than a certificate with its chain. A host may have anything there.
LEAF_BYTES = 65_536
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
        _observe_auth(world, found),
        _observe_access(world, found),
        _observe_other_leaves(world, found),
        _observe_peer_ports(world, found),
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
        seen = await asyncio.gather(*(_observe_host(world, each, pki) for each in host_specs))
        for host_spec, (host, member) in zip(host_specs, seen, strict=True):
            own = with_own_folders(world.spec, host_spec, host) if host_spec.name in leaving else host_spec
            if own != host_spec:
                leaving[own.name] = world.extra_hosts[own.name] = own
                host, member = await _observe_host(world, own, pki)
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


async def _observe_auth(world: World, found: Observed) -> bool | None:
    """Return whether etcd's authentication is enabled, or None if it is not known.

    Only an upgrade from 3.4 to 3.5 depends on it (rule 45), and `client_auth: optional`. So etcdup asks only then.
    """
    names = [
        name
        for name, seen in found.answering().items()
        if world.spec.tls.client_auth == "optional" or seen.version.series == (3, 4)
    ]
    if not names or (world.spec.tls.client_auth == "required" and world.spec.version.series == (3, 4)):
        return None
    try:
        client = await world.etcd(names[0])
        return await client.is_auth_enabled(timeout_s=STATUS_TIMEOUT_S)
    except EtcdupError:
        return None


async def _observe_access(world: World, found: Observed) -> str:
    """Return why etcd refuses etcdup the rights of an administrator, or an empty text.

    If the users of etcd are enabled, the status of a member and the member list are still readable without a user. A
    member without a leader does not answer to a login.
    """
    logs_in = world.spec.etcd.access is not None
    names = [
        name
        for name, seen in found.answering().items()
        if not seen.is_learner and (seen.leader_id or not logs_in)
    ]
    return next(filter(None, await asyncio.gather(*(_refused_access(world, name) for name in names))), "")


async def _refused_access(world: World, name: str) -> str:
    try:
        return await (await world.etcd(name)).refused_access(timeout_s=STATUS_TIMEOUT_S)
    except EtcdupError:
        return ""


async def _observe_other_leaves(world: World, found: Observed) -> dict[str, CertSeen]:
    """Return the server certificates on hosts that are not the ones of the PKI, if a CA of the PKI signed them.

    etcdup does not read a host whose certificates are of a known change.
    """
    spec, seen = world.spec, found.reachable()
    paths = {name: layout_of(spec, world.host_spec(name)).cert("server") for name in seen}
    names = [name for name, path in paths.items() if _has_other_leaf(spec, seen[name], path, found.pki)]
    leaves = await asyncio.gather(*(_read_leaf(world, name, paths[name]) for name in names))
    return {name: leaf for name, leaf in zip(names, leaves, strict=True) if leaf is not None}


def _has_other_leaf(spec: Spec, seen: HostSeen, path: str, pki: PkiSeen) -> bool:
    file = seen.files.get(path)
    if pki.ca is None or file is None or not seen.is_marked(spec.name) or seen.pki_change in pki.changes:
        return False
    if seen.is_adopted:  # another tool issued its certificates
        return False
    return file.sha256 != pki.files.get(f"server/{seen.host}", ("", ""))[0]


async def _read_leaf(world: World, name: str, path: str) -> CertSeen | None:
    try:
        result = await world.hosts[name].run(("head", "-c", str(LEAF_BYTES), "--", path))
        return world.pki.see_leaf(result.stdout.encode())
    except (RemoteError, PkiError):
        return None


async def _observe_peer_ports(
    world: World, found: Observed
) -> tuple[tuple[BlockedPort, ...], dict[str, str]]:
    """Return the ports of members that other hosts do not reach, if a host is new or moves, and the firewalls.

    Hosts that etcdup does not reach are not tried: they may be down.
    """
    seen, spec = found.reachable(), world.spec
    new = changed_hosts(spec, found)
    tried = {
        host.name: {
            at: name
            for at, name in tried_ports(spec, host, new).items()
            if name in seen and (host.name, *at) not in world.reached_ports
        }
        for host in spec.hosts
        if host.name in seen
    }
    answers = await asyncio.gather(
        *(_try_ports(world, name, names) for name, names in tried.items() if names)
    )
    return tuple(port for _, _, ports in answers for port in ports), {name: wall for name, wall, _ in answers}


async def _try_ports(
    world: World, name: str, names: dict[tuple[str, int], str]
) -> tuple[str, str, tuple[BlockedPort, ...]]:
    """Return the host, its firewall and the ports that it does not reach. World remembers the ports that it reaches."""
    try:
        result = await world.hosts[name].run(peer_ports_argv(list(names)), timeout_s=PROBE_TIMEOUT_S)
        firewall, blocked = parse_peer_ports(name, result.check().stdout, names)
    except RemoteError:  # The next observation reports a lost connection, or tries the ports again.
        return name, "", ()
    unreached = {(each.target, each.port) for each in blocked}
    world.reached_ports |= {(name, *at) for at, target in names.items() if (target, at[1]) not in unreached}
    return name, firewall, blocked


async def observe_members(world: World, before: Observed) -> Observed:
    """Return `before` with a new status of each member, and everything else unchanged.

    A status request costs a host almost nothing. It may be repeated many times a second while hosts start etcd.
    """
    return await _observe_members(world, before, list(before.members))


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
        latest = await _observe_members(world, latest, [*latest.answering(), *starting_members(latest)])
        return not _is_in_motion(latest)

    if await wait_until(world.clock, is_steady, STEADY_S if starting_members(observed) else election_s):
        return await observe(world)
    world.is_unsteady = True
    return observed


def _is_in_motion(observed: Observed) -> bool:
    return is_electing(observed) or bool(starting_members(observed))


async def _observe_members(world: World, before: Observed, names: Sequence[str]) -> Observed:
    seen = await asyncio.gather(*(_observe_member(world, name) for name in names))
    return replace(before, members={**before.members, **dict(zip(names, seen, strict=True))})


async def _observe_host(
    world: World, host: HostSpec, pki: PkiSeen
) -> tuple[HostSeen | Unreachable, MemberSeen | MemberSilent]:
    seen = await _probe(world, host, pki)
    if not isinstance(seen, HostSeen):
        return seen, await _observe_member(world, host.name)
    if seen.unit.is_running or seen.is_adopted:  # the unit of an adopted member can have another name
        member = await _observe_member(world, host.name)
    else:
        member = MemberSilent(_why_not_running(seen.unit))
        seen = replace(seen, no_route=await _find_no_route(world, host))
    if isinstance(member, MemberSilent) and seen.unit.has_failed:
        return seen, await _with_reason(world, host.name, seen.unit, member)
    return seen, member


async def _find_no_route(world: World, host: HostSpec) -> Unreachable | None:
    """Return why etcdup could not connect to the member if it ran, or None."""
    try:
        await world.check_route(host)
    except ForwardForbidden as error:
        return Unreachable(host.name, error.message, error.hint) if error.lasting else None
    except RemoteError:  # The next observation reports a lost connection.
        return None
    return None


def _why_not_running(unit: UnitSeen) -> str:
    if unit.queued:
        return f"etcd is not started yet: systemd waits for {awaited_units(unit)}"
    if unit.is_starting:
        return "etcd is starting"
    return "etcd does not run"


def awaited_units(unit: UnitSeen) -> str:
    """Return the units that systemd waits for before it starts etcd."""
    return ", ".join(unit.waits_for) or "other jobs of systemd"


async def _with_reason(world: World, name: str, unit: UnitSeen, silent: MemberSilent) -> MemberSilent:
    """Return why the member is silent, with the number of its starts and the reason that its log has."""
    why = silent.why
    if unit.active == "activating":
        state = "does not stay up" if unit.is_retrying else "is starting"
        count = "once" if unit.restarts == 0 else f"{unit.restarts + 1} times"
        why = f"etcd {state}: systemd has started it {count}"
    shown, hint = explain_starts(await read_starts(world, name, unit, unit.restarts + 1))
    return MemberSilent(one_line(": ".join([why, *shown[-1:]])), silent.hint or hint, silent.lasting)


async def _probe(world: World, host: HostSpec, pki: PkiSeen) -> HostSeen | Unreachable:
    if host.name in world.unreachable:
        return world.unreachable[host.name]
    layout = layout_of(world.spec, host)
    files = desired_paths(host, layout, pki)
    # The other members on the same machine listen on the same ports as a local member. To find out which process
    # has which port takes too long there.
    spec = world.spec
    ports = () if host.root else (spec.client_port(host), spec.peer_port(host), spec.metrics_port(host))
    asked_at = world.clock.now()
    try:
        argv = probe_argv(
            layout, files, ports, observed_folders(layout), program_names(layout), listen_pattern(host)
        )
        result = await world.hosts[host.name].run(argv, timeout_s=PROBE_TIMEOUT_S)
        return parse_probe(host.name, result.stdout, layout, asked_at, world.clock.now())
    except RemoteError as error:
        return Unreachable(host.name, one_line(error.message.removeprefix(f"{host.name}: ")), error.hint)
    except UnreadableMarker as error:
        return Unreachable(
            host.name, f"{layout.marker} is not a marker of etcdup: {error}", _marker_hint(host.name)
        )
    except ValueError as error:
        return Unreachable(
            host.name, one_line(_unreadable(error, result)), _UNREADABLE_HINT.format(host=host.name)
        )


_UNREADABLE_HINT = "check that sh, coreutils and /proc work on {host}, then run the same command again"


def _unreadable(error: ValueError, result: Result) -> str:
    """Return why the output of the probe is unusable, with its status and what the host printed last."""
    said = result.stderr.strip().rpartition("\n")[2]
    ended = f"the probe exited with status {result.status}" if result.status else ""
    return "; ".join(filter(None, (str(error), ended, said)))


def _marker_hint(host: str) -> str:
    return (
        f"find out who wrote the file on {host}: only etcdup, as root, writes it. Then restore it, or copy it from "
        f"another member and set `member` to {host}"
    )


async def _observe_member(world: World, name: str) -> MemberSeen | MemberSilent:
    try:
        client = await world.etcd(name)
        return with_host_names(world.spec, await client.status(timeout_s=STATUS_TIMEOUT_S))
    except EtcdupError as error:
        return MemberSilent(one_line(error.message.removeprefix(f"{name}: ")), error.hint, error.lasting)
