"""Observe members over their API, and wait until elections and starts have ended."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from etcdup.core.members.member_list import with_host_names
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.spec.visible import one_line
from etcdup.errors import EtcdupError
from etcdup.ops.world.world import World

STATUS_TIMEOUT_S = 2.0


async def observe_members(world: World, before: Observed) -> Observed:
    """Return `before` with a new status of each member, and everything else unchanged.

    A status request costs a host almost nothing. It may be repeated many times a second while hosts start etcd.
    """
    return await observe_named_members(world, before, list(before.members))


async def observe_named_members(world: World, before: Observed, names: Sequence[str]) -> Observed:
    """Return `before` with a new status of these members."""
    seen = await asyncio.gather(*(observe_member(world, name) for name in names))
    return replace(before, members={**before.members, **dict(zip(names, seen, strict=True))})


async def observe_member(world: World, name: str) -> MemberSeen | MemberSilent:
    """Return the status of a member, or why it does not answer."""
    try:
        client = await world.etcd(name)
        return with_host_names(world.spec, await client.status(timeout_s=STATUS_TIMEOUT_S))
    except EtcdupError as error:
        return MemberSilent(one_line(error.message.removeprefix(f"{name}: ")), error.hint, error.lasting)
