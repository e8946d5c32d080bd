"""What recover tries first: looking for room on full disks, and waiting for a quorum that may come back (rule 68)."""

import asyncio

from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.recovery.disk_space import (
    DISK_SPACE_TIMEOUT_S,
    DiskSpace,
    disk_space_argv,
    full_directory,
    parse_disk_space,
)
from etcdup.core.recovery.quorum_repair import reachable_quorum
from etcdup.errors import RemoteError
from etcdup.ops.certs.proof import RECOVERY_TIMEOUT_S
from etcdup.ops.world.health import Health, has_quorum, prove_each, prove_voters
from etcdup.ops.world.observe import observe_members
from etcdup.ops.world.world import World

POLL_S = 0.1


async def inspect_full_disks(world: World, observed: Observed) -> dict[str, DiskSpace]:
    """What lies on each disk that is full, by host. Changes nothing."""
    there = reachable_quorum(world.spec, observed)
    crowded = [
        there[host.name]
        for host in world.spec.hosts
        if host.name in there and full_directory(there[host.name])
    ]
    found = await asyncio.gather(*(_inspect_disk(world, seen) for seen in crowded))
    return {seen.host: room for seen, room in zip(crowded, found, strict=True) if room is not None}


async def wait_for_quorum(world: World, observed: Observed) -> tuple[bool, tuple[Health, ...]]:
    """Whether a quorum is proved, within the time that members take to find each other; and every member's proof."""
    end = world.clock.now() + RECOVERY_TIMEOUT_S
    while True:
        observed = await observe_members(world, observed)
        is_back = any(seen.leader_id for seen in observed.answering().values()) and has_quorum(
            await prove_voters(world, observed)
        )
        if is_back or world.clock.now() >= end:
            return is_back, await prove_each(world, observed)
        await world.clock.sleep(POLL_S)


async def _inspect_disk(world: World, seen: HostSeen) -> DiskSpace | None:
    """None where it cannot be told: then nothing is removed there."""
    try:
        result = await world.hosts[seen.host].run(
            disk_space_argv(world.spec, seen), timeout_s=DISK_SPACE_TIMEOUT_S
        )
        return parse_disk_space(result.check().stdout)
    except (RemoteError, ValueError):
        return None
