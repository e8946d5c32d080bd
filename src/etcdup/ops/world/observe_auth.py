"""Observe the authentication of etcd, and whether etcdup has the rights of an administrator."""

import asyncio

from etcdup.core.observed.model import Observed
from etcdup.errors import EtcdupError
from etcdup.ops.world.observe_members import STATUS_TIMEOUT_S
from etcdup.ops.world.world import World


async def observe_auth(world: World, found: Observed) -> bool | None:
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


async def observe_access(world: World, found: Observed) -> str:
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
