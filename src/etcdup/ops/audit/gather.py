"""Gather the evidence for `check` from all hosts and members at the same time.

It is read-only, except for the disk test, which writes a file.
"""

import asyncio
from collections.abc import Sequence

from etcdup.core.audit.findings import Evidence, HostInspection, LeaderChanges, MemberHash, MemberLog
from etcdup.core.audit.hashes import is_comparable
from etcdup.core.audit.inspection import inspection_argv, parse_inspection
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import CertInspection, Link
from etcdup.core.etcd.replay import V2_PATHS, parse_log_part
from etcdup.core.host.log_files import log_folder
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.core.versions.upgrade_paths import next_minor_needs_raft_snapshot
from etcdup.errors import EtcdupError, RemoteError
from etcdup.ops.audit.metrics import read_leader_changes
from etcdup.ops.certs.links import probe_links
from etcdup.ops.certs.survey import inspect_served_certs
from etcdup.ops.certs.users import read_users
from etcdup.ops.world.hashes import read_hashes_in_turn
from etcdup.ops.world.log_files import read_log_file
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import KvHash
from etcdup.remote.etcd.errors import EtcdTimeout

INSPECTION_TIMEOUT_S = 60.0
RETRY_S = 0.5


async def gather_evidence(
    world: World, observed: Observed, client: ClientFiles | None, *, disk: bool
) -> Evidence:
    """Return all evidence. A failure on one host does not hide the others.

    `client` is the certificate for TLS handshakes with client ports. `disk` runs the disk test.
    """
    (inspected, leaders), served, links, hashes, logs, (auth, roles) = await asyncio.gather(
        _inspect_hosts(world, observed, client, disk=disk),
        _inspect_served(world, observed, client),
        _probe_links(world, observed),
        _compare_members(world, observed),
        _read_logs(world, observed),
        read_users(world, observed),
    )
    return Evidence(
        observed=observed,
        inspections={name: seen for name, seen in inspected.items() if isinstance(seen, HostInspection)},
        cert_inspections=tuple(served),
        links=tuple(links),
        hashes=hashes,
        leaders=leaders,
        logs=logs,
        auth=auth,
        roles=roles,
        not_inspected={name: why for name, why in inspected.items() if isinstance(why, str)},
    )


async def _inspect_hosts(
    world: World, observed: Observed, client: ClientFiles | None, *, disk: bool
) -> tuple[dict[str, HostInspection | str], tuple[LeaderChanges, ...]]:
    """Return the inspection of each reachable host, and the leader changes of each running member.

    The inspection contains the URL of the member's metrics.
    """
    hosts = [host for host in world.spec.hosts if host.name in observed.reachable()]
    inspected = await asyncio.gather(*(_inspect_host(world, host, disk=disk) for host in hosts))
    now = world.clock.now()
    running = [seen for seen in inspected if isinstance(seen, HostInspection) and seen.settings]
    reads = (
        read_leader_changes(world.hosts[each.host], each.settings, client, now)
        for each in running
        # With a configuration file the URL of the metrics is not known. Another finding reports that.
        if "config-file" not in each.settings
    )
    leaders = await asyncio.gather(*reads)
    return {host.name: seen for host, seen in zip(hosts, inspected, strict=True)}, tuple(leaders)


async def _inspect_host(world: World, host: HostSpec, *, disk: bool) -> HostInspection | str:
    """Return the inspection of a host, or why it failed."""
    spec = world.spec
    others = [
        (other.name, other.address, (spec.client_port(other), spec.peer_port(other)))
        for other in spec.hosts
        if other.name != host.name
    ]
    argv = inspection_argv(layout_of(spec, host), others, disk=disk)
    try:
        result = await world.hosts[host.name].run(argv, timeout_s=INSPECTION_TIMEOUT_S)
        return parse_inspection(host.name, result.stdout)
    except RemoteError as error:
        return error.message
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        return str(error)


async def _inspect_served(
    world: World, observed: Observed, client: ClientFiles | None
) -> Sequence[CertInspection]:
    """Return the certificates that running members serve, or nothing if no member runs."""
    running = {
        name
        for name, seen in observed.hosts.items()
        if not isinstance(seen, HostSeen) or seen.unit.is_running
    }
    if not observed.running():
        return ()
    return [each for each in await inspect_served_certs(world, client) if each.host in running]


async def _probe_links(world: World, observed: Observed) -> Sequence[Link]:
    """Return the links from each host to each member that answers. Other findings report the silent members."""
    answering = observed.answering()
    return (
        [link for link in await probe_links(world, observed) if link.target in answering] if answering else ()
    )


async def _compare_members(world: World, observed: Observed) -> tuple[MemberHash, ...]:
    """Return the hashes. A single member is not blocked for a hash that is compared with no other one."""
    return await read_hashes(world, observed) if len(observed.answering()) > 1 else ()


async def read_hashes(world: World, observed: Observed) -> tuple[MemberHash, ...]:
    """Return the hash of every member that answers, read one after the other.

    If the hashes are not comparable, they are read once more: a compaction reaches one member before another. They are
    not read again while a member may still compute its first hash.
    """
    names = list(observed.answering())
    found = await _read_hashes_once(world, names)
    hashes = tuple(_member_hash(name, each) for name, each in found.items())
    if is_comparable(hashes) or any(isinstance(each, EtcdTimeout) for each in found.values()):
        return hashes
    await world.clock.sleep(RETRY_S)
    return tuple(_member_hash(name, each) for name, each in (await _read_hashes_once(world, names)).items())


async def _read_logs(world: World, observed: Observed) -> tuple[MemberLog, ...]:
    """Return what the log of each member that the next minor may be unable to read contains."""
    names = [
        name
        for name, seen in observed.answering().items()
        if name in observed.reachable() and next_minor_needs_raft_snapshot(seen.version.series)
    ]
    return tuple(await asyncio.gather(*(_read_log(world, observed, name) for name in names)))


async def _read_log(world: World, observed: Observed, name: str) -> MemberLog:
    """Read only the last file, and only if it may have a v2 request: `check` must not take long."""
    user = layout_of(world.spec, world.host_spec(name)).user
    folder = log_folder(observed.reachable()[name])
    try:
        file = await read_log_file(world.hosts[name], folder, 0, user, only_with=V2_PATHS)
        part = await asyncio.to_thread(parse_log_part, *file) if file else None
    except RemoteError as error:
        return MemberLog(name, why=error.message.removeprefix(f"{name}: "))
    except ValueError as error:
        return MemberLog(name, why=str(error))
    return MemberLog(name, reads_v2=part is not None and part.reads_v2)


async def _read_hashes_once(world: World, names: Sequence[str]) -> dict[str, KvHash | EtcdupError]:
    """Return the hashes at the newest revision that all members have (rule 81), or why a member has none."""
    clients, failed = {}, dict[str, EtcdupError]()
    for name in names:
        try:
            clients[name] = await world.etcd(name)
        except EtcdupError as error:
            failed[name] = error
    found = await read_hashes_in_turn(clients)
    return {name: found[name] if name in found else failed[name] for name in names}


def _member_hash(name: str, found: KvHash | EtcdupError) -> MemberHash:
    if isinstance(found, EtcdupError):
        return MemberHash(name, why=found.message.removeprefix(f"{name}: "))
    return MemberHash(name, found.hash, found.compact_revision, revision=found.hash_revision)
