"""What recover tries first: inspect full disks, and wait until a quorum may be back (rule 68)."""

import asyncio

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import full_directory
from etcdup.core.recovery.disk_space import (
    DISK_SPACE_TIMEOUT_S,
    DiskSpace,
    disk_space_argv,
    parse_disk_space,
)
from etcdup.core.recovery.quorum_repair import reachable_quorum
from etcdup.errors import RemoteError
from etcdup.ops import polling
from etcdup.ops.certs.proof import RECOVERY_TIMEOUT_S
from etcdup.ops.world.health import Health, has_quorum, prove_each, prove_voters
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.world import World

POLL_S = 0.1


async def inspect_full_disks(world: World, observed: Observed) -> dict[str, DiskSpace]:
    """Return what uses space on each full disk, by host. Read-only."""
    quorum = reachable_quorum(world.spec, observed)
    full = [
        quorum[host.name]
        for host in world.spec.hosts
        if host.name in quorum and full_directory(quorum[host.name])
    ]
    found = await asyncio.gather(*(_inspect_disk(world, seen) for seen in full))
    return {seen.host: space for seen, space in zip(full, found, strict=True) if space is not None}


async def wait_for_quorum(world: World, observed: Observed) -> tuple[bool, tuple[Health, ...]]:
    """Wait until a quorum is proved. Return whether it was, and the health proof of every member.

    The timeout is the time that members need to connect to each other after they were apart.
    """

    async def is_back() -> bool:
        nonlocal observed
        observed = await observe_members(world, observed)
        has_leader = any(seen.leader_id for seen in observed.answering().values())
        return has_leader and has_quorum(await prove_voters(world, observed))

    back = await polling.wait_until(world.clock, is_back, RECOVERY_TIMEOUT_S, POLL_S)
    return back, await prove_each(world, observed)


async def _inspect_disk(world: World, seen: HostSeen) -> DiskSpace | None:
    """Return what uses space on the full disk, or None if that is not known: then nothing is removed there."""
    try:
        result = await world.hosts[seen.host].run(
            disk_space_argv(world.spec, seen), timeout_s=DISK_SPACE_TIMEOUT_S
        )
        return parse_disk_space(result.check().stdout)
    except (RemoteError, ValueError):
        return None
