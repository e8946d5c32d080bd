"""Read the size and the age of the archives on the hosts."""

import asyncio
from dataclasses import dataclass

from etcdup.core.host.archives import ARCHIVES_TIMEOUT_S, Archive, archives_argv, parse_archives
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.errors import RemoteError
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class ArchivesFound:
    """The archives of all hosts, the oldest of each host first. `failed`: why the others could not be read."""

    archives: tuple[Archive, ...]
    failed: dict[str, str]


async def read_archives(world: World, observed: Observed) -> ArchivesFound:
    """Return what etcdup archived on the hosts of cluster.yaml. Read-only."""
    failed = {name: gone.why for name, gone in observed.unreachable().items()}
    hosts = [seen for seen in observed.reachable().values() if seen.archives and not _is_foreign(world, seen)]
    answers = await asyncio.gather(*(_read_host(world, seen) for seen in hosts))
    found: list[Archive] = []
    for seen, answer in zip(hosts, answers, strict=True):
        if isinstance(answer, str):
            failed[seen.host] = answer
        else:
            found += answer
    return ArchivesFound(tuple(sorted(found, key=lambda each: (each.host, each.at, each.path))), failed)


def _is_foreign(world: World, seen: HostSeen) -> bool:
    """Return whether the host belongs to another cluster. After `destroy`, a host has no marker."""
    return seen.marker is not None and not seen.is_marked(world.spec.name)


async def _read_host(world: World, seen: HostSeen) -> tuple[Archive, ...] | str:
    """Return the archives of one host, or why they cannot be read."""
    try:
        done = await world.hosts[seen.host].run(archives_argv(seen), timeout_s=ARCHIVES_TIMEOUT_S)
        return tuple(parse_archives(done.check().stdout, seen))
    except RemoteError as error:
        return error.message
