"""Gathers all that `check` judges, from every host and member at once. Read-only, unless the disk is to be tried."""

import asyncio
from collections.abc import Sequence

from etcdup.core.audit.findings import Evidence, HostInspection, LeaderChanges, MemberHash
from etcdup.core.audit.inspection import inspection_argv, parse_inspection
from etcdup.core.audit.members import is_comparable
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.certs.inventory import CertInspection, Link
from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec
from etcdup.errors import EtcdupError, RemoteError
from etcdup.ops.audit.metrics import read_leader_changes
from etcdup.ops.certs.links import probe_links
from etcdup.ops.certs.survey import inspect_served_certs
from etcdup.ops.world.world import World

INSPECTION_TIMEOUT_S = 60.0
HASH_TIMEOUT_S = 10.0
RETRY_S = 0.5


async def gather_evidence(
    world: World, observed: Observed, client: ClientFiles | None, *, disk: bool
) -> Evidence:
    """`client` is what to say hello with on client ports. Whatever fails on one host hides no other."""
    (looked, leaders), sightings, between, hashes = await asyncio.gather(
        _inspect_hosts(world, observed, client, disk=disk),
        _inspect_served(world, observed, client),
        _probe_links(world, observed),
        read_hashes(world, observed),
    )
    return Evidence(
        observed=observed,
        inspections={name: seen for name, seen in looked.items() if isinstance(seen, HostInspection)},
        cert_inspections=tuple(sightings),
        links=tuple(between),
        hashes=hashes,
        leaders=leaders,
        not_inspected={name: why for name, why in looked.items() if isinstance(why, str)},
    )


async def _inspect_hosts(
    world: World, observed: Observed, client: ClientFiles | None, *, disk: bool
) -> tuple[dict[str, HostInspection | str], tuple[LeaderChanges, ...]]:
    """And, of each etcd that runs, what its metrics say: where those are the closer look tells."""
    hosts = [host for host in world.spec.hosts if host.name in observed.reachable()]
    looked = await asyncio.gather(*(_inspect_host(world, host, disk=disk) for host in hosts))
    now = world.clock.now()
    running = [seen for seen in looked if isinstance(seen, HostInspection) and seen.settings]
    told = (
        read_leader_changes(world.hosts[each.host], each.settings, client, now)
        for each in running
        if "config-file" not in each.settings  # that it cannot be asked is said already
    )
    leaders = await asyncio.gather(*told)
    return {host.name: seen for host, seen in zip(hosts, looked, strict=True)}, tuple(leaders)


async def _inspect_host(world: World, host: HostSpec, *, disk: bool) -> HostInspection | str:
    """The closer look, or why there is none."""
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
    except (ValueError, KeyError, IndexError) as error:
        return str(error)


async def _inspect_served(
    world: World, observed: Observed, client: ClientFiles | None
) -> Sequence[CertInspection]:
    """Nothing is said of ports before a member runs behind one of them."""
    running = {
        name
        for name, seen in observed.hosts.items()
        if not isinstance(seen, HostSeen) or seen.unit.is_running
    }
    if not any(seen.unit.is_running for seen in observed.reachable().values()):
        return ()
    return [each for each in await inspect_served_certs(world, client) if each.host in running]


async def _probe_links(world: World, observed: Observed) -> Sequence[Link]:
    """By TLS, from each host to each member that answers: the others are findings already."""
    answering = observed.answering()
    return (
        [link for link in await probe_links(world, observed) if link.target in answering] if answering else ()
    )


async def read_hashes(world: World, observed: Observed) -> tuple[MemberHash, ...]:
    """Of every answering member. Where they cannot be compared they are asked once more: a compaction, which reaches
    one member before another, is over in a moment."""
    names = list(observed.answering())
    if len(names) < 2:
        return ()
    found = await _read_hashes_once(world, names)
    if is_comparable(found):
        return found
    await world.clock.sleep(RETRY_S)
    return await _read_hashes_once(world, names)


async def _read_hashes_once(world: World, names: Sequence[str]) -> tuple[MemberHash, ...]:
    """All at one revision: the oldest that one of them has as its newest (rule 81)."""
    newest = await asyncio.gather(*(_read_hash(world, name) for name in names))
    known = [revision for _, revision in newest if revision]
    if not known:
        return tuple(each for each, _ in newest)
    return tuple(
        each for each, _ in await asyncio.gather(*(_read_hash(world, name, min(known)) for name in names))
    )


async def _read_hash(world: World, name: str, revision: int = 0) -> tuple[MemberHash, int]:
    """And at which revision; 0 stands for the newest."""
    try:
        found = await (await world.etcd(name)).hash_kv(revision, timeout_s=HASH_TIMEOUT_S)
    except EtcdupError as error:
        return MemberHash(name, why=error.message.removeprefix(f"{name}: ")), 0
    return MemberHash(name, found.hash, found.compact_revision), found.hash_revision
