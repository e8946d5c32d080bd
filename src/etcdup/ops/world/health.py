"""Health that is proved, not assumed: a write and a linearizable read through each member (rule 11)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from etcdup.core.members.member_list import host_of, voter_names
from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.model import MemberSeen, Observed
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.world.world import World

PROOF_TIMEOUT_S = 5.0

MemberCheck = Callable[[Observed, MemberSeen], str]


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
    jobs = (
        _prove(world, observed, host.name, partial(why_not_as_specified, world.spec), timeout_s)
        for host in world.spec.hosts
    )
    return tuple(await asyncio.gather(*jobs))


async def prove_voters(world: World, observed: Observed) -> tuple[Health, ...]:
    """The same of the voters that there are now, while cluster.yaml and the member list may still differ."""
    jobs = (_prove(world, observed, name, why_unhealthy, PROOF_TIMEOUT_S) for name in voter_names(observed))
    return tuple(await asyncio.gather(*jobs))


async def prove_each(world: World, observed: Observed) -> tuple[Health, ...]:
    """Every member that cluster.yaml or the member list names, by what it does itself: whether the two differ is
    another question."""
    jobs = (_prove(world, observed, name, why_unhealthy, PROOF_TIMEOUT_S) for name in observed.members)
    return tuple(await asyncio.gather(*jobs))


async def _prove(world: World, observed: Observed, name: str, judge: MemberCheck, timeout_s: float) -> Health:
    url = world.spec.client_url(host_of(world.spec, observed, name))
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return Health(name, url, 0, 0.0, seen.why)
    if why := judge(observed, seen):
        return Health(name, url, seen.member_id, 0.0, why)
    began = world.clock.now()
    try:
        client = await world.etcd(name)
        await client.prove(f"etcdup/health/{name}".encode(), f"{began:.6f}".encode(), timeout_s=timeout_s)
    except EtcdupError as error:
        why = error.message.removeprefix(f"{name}: ")
        return Health(name, url, seen.member_id, world.clock.now() - began, why)
    return Health(name, url, seen.member_id, world.clock.now() - began)


def why_not_as_specified(spec: Spec, observed: Observed, seen: MemberSeen) -> str:
    """Why a member that answers is still not what cluster.yaml wants; empty where nothing stands against it."""
    if why := why_unhealthy(observed, seen):
        return why
    if {member.name for member in seen.members} == {host.name for host in spec.hosts}:
        return ""
    return "its member list differs from cluster.yaml: " + ", ".join(
        sorted(member.name or "unstarted" for member in seen.members)
    )


def why_unhealthy(observed: Observed, seen: MemberSeen) -> str:
    """Why a member that answers is not a healthy voter; empty where nothing stands against it."""
    others = observed.answering()
    if not seen.leader_id:
        return "it has no leader"
    if seen.is_learner:
        return "it is a learner, not yet a voter"
    if len({other.cluster_id for other in others.values()}) > 1:
        return "members belong to different clusters"
    if seen.alarms:
        return "alarm: " + ", ".join(seen.alarms)
    return "; ".join(seen.errors)


def has_quorum(results: tuple[Health, ...]) -> bool:
    """Whether the proved members alone could accept writes."""
    return sum(result.ok for result in results) >= quorum_of(len(results))


async def prove_whole(world: World, observed: Observed) -> tuple[Health, ...]:
    """Every host within reach, every member proved healthy. Raises EtcdupError."""
    gone = [seen for name, seen in observed.unreachable().items() if name not in observed.leaving]
    results = await prove(world, observed)
    sick = [f"{result.name}: {result.why}" for result in results if not result.ok]
    sick += [f"{host.host} cannot be reached: {host.why}" for host in gone]
    if sick:
        raise EtcdupError(
            "the cluster is not healthy" if len(sick) > 1 else f"the cluster is not healthy: {sick[0]}",
            detail="\n".join(sick) if len(sick) > 1 else "",
            hint="`etcdup status` shows each member",
        )
    return results
