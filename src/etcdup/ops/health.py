"""Health that is proved, not assumed: a write and a linearizable read through each member (rule 11)."""

import asyncio
from dataclasses import dataclass

from etcdup.core.observed import MemberSeen, Observed
from etcdup.core.quorum import quorum_of
from etcdup.core.spec import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.world import World

PROOF_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Health:
    """One member's answer to the proof. `why` is empty exactly when it is healthy."""

    name: str
    url: str
    member_id: int
    took_s: float
    why: str = ""

    @property
    def ok(self) -> bool:
        return not self.why


async def prove(
    world: World, observed: Observed, *, timeout_s: float = PROOF_TIMEOUT_S
) -> tuple[Health, ...]:
    """Every member of the Spec, proved at once.

    A member is healthy when a key written through it is read back linearizably through it, when it is a voter of
    the one cluster that all see, with the same members, and when no alarm stands.
    """
    return tuple(
        await asyncio.gather(*(_prove(world, observed, host.name, timeout_s) for host in world.spec.hosts))
    )


async def _prove(world: World, observed: Observed, name: str, timeout_s: float) -> Health:
    url = world.spec.client_url(world.spec.host(name))
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return Health(name, url, 0, 0.0, seen.why)
    if why := against(world.spec, observed, seen):
        return Health(name, url, seen.member_id, 0.0, why)
    began = world.clock.now()
    try:
        client = await world.etcd(name)
        await client.prove(f"etcdup/health/{name}".encode(), f"{began:.6f}".encode(), timeout_s=timeout_s)
    except EtcdupError as error:
        why = error.message.removeprefix(f"{name}: ")
        return Health(name, url, seen.member_id, world.clock.now() - began, why)
    return Health(name, url, seen.member_id, world.clock.now() - began)


def against(spec: Spec, observed: Observed, seen: MemberSeen) -> str:
    """Why a member that answers is still not healthy; empty where nothing stands against it."""
    others = observed.answering()
    if not seen.leader_id:
        return "it has no leader"
    if seen.is_learner:
        return "it is a learner, not yet a voter"
    if len({other.cluster_id for other in others.values()}) > 1:
        return "members belong to different clusters"
    if seen.alarms:
        return "alarm: " + ", ".join(seen.alarms)
    if {member.name for member in seen.members} != {host.name for host in spec.hosts}:
        return "its member list differs from cluster.yaml: " + ", ".join(
            sorted(member.name or "unstarted" for member in seen.members)
        )
    return "; ".join(seen.errors)


def has_quorum(results: tuple[Health, ...]) -> bool:
    """Whether the proved members alone could accept writes."""
    return sum(result.ok for result in results) >= quorum_of(len(results))
