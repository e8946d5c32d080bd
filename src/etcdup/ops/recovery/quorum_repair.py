"""What recover tries first: looking for room on full disks, and waiting for a quorum that may come back (rule 68)."""

import asyncio

from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.recovery.disk_space import ROOM_TIMEOUT_S, Room, full, parse_room, room_argv
from etcdup.core.recovery.quorum_repair import within_reach
from etcdup.errors import RemoteError
from etcdup.ops.certs.proof import RECOVERY_TIMEOUT_S
from etcdup.ops.world.health import Health, has_quorum, prove_each, prove_voters
from etcdup.ops.world.observe import look_again_at_members
from etcdup.ops.world.world import World

POLL_S = 0.1


async def find_room(world: World, observed: Observed) -> dict[str, Room]:
    """What lies on each disk that is full, by host. Changes nothing."""
    there = within_reach(world.spec, observed)
    crowded = [there[host.name] for host in world.spec.hosts if host.name in there and full(there[host.name])]
    found = await asyncio.gather(*(_room(world, seen) for seen in crowded))
    return {seen.host: room for seen, room in zip(crowded, found, strict=True) if room is not None}


async def quorum_back(world: World, observed: Observed) -> tuple[bool, tuple[Health, ...]]:
    """Whether a quorum is proved, within the time that members take to find each other; and every member's proof."""
    end = world.clock.now() + RECOVERY_TIMEOUT_S
    while True:
        observed = await look_again_at_members(world, observed)
        is_back = any(seen.leader_id for seen in observed.answering().values()) and has_quorum(
            await prove_voters(world, observed)
        )
        if is_back or world.clock.now() >= end:
            return is_back, await prove_each(world, observed)
        await world.clock.sleep(POLL_S)


async def _room(world: World, seen: HostSeen) -> Room | None:
    """None where it cannot be told: then nothing is removed there."""
    try:
        result = await world.hosts[seen.host].run(room_argv(world.spec, seen), timeout_s=ROOM_TIMEOUT_S)
        return parse_room(result.check().stdout)
    except (RemoteError, ValueError):
        return None
