"""Prove the health of members by a write and a linearizable read through each of them (rule 11).

During an alarm etcd refuses writes, and without a user it refuses all requests for keys. A linearizable read alone
then proves that a member is part of a quorum.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from etcdup.core.members.limits import (
    describe_followers,
    limits,
    member_limit,
    refused_access,
    refused_writes,
)
from etcdup.core.members.member_list import host_of, voter_names
from etcdup.core.members.quorum import quorum_of
from etcdup.core.members.space import NOSPACE
from etcdup.core.observed.model import MemberSeen, Observed
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import AuthRequired, NoSpace

PROOF_TIMEOUT_S = 5.0

MemberCheck = Callable[[Observed, MemberSeen], str]


@dataclass(frozen=True)
class Health:
    """The result of one member's health proof. `why` is empty if and only if the member is healthy.

    `limited`: a linearizable read through the member succeeded, and etcd refuses writes because of an alarm, or all
    requests of etcdup because its users are enabled.
    """

    name: str
    url: str
    member_id: int
    took_s: float
    why: str = ""
    limited: bool = False

    @property
    def ok(self) -> bool:
        return not self.why

    @property
    def votes(self) -> bool:
        """Return whether the member is proved to be part of a quorum."""
        return self.ok or self.limited


async def prove(
    world: World, observed: Observed, *, timeout_s: float = PROOF_TIMEOUT_S
) -> tuple[Health, ...]:
    """Prove every member of the Spec, all at the same time.

    A member is healthy if a key that is written through it is read back through it with a linearizable read. It must
    also be a voter, and all members must have one cluster ID. Its member list must be the one of cluster.yaml, and no
    alarm may be active.
    """
    jobs = (
        _prove(world, observed, host.name, partial(why_not_as_specified, world.spec), timeout_s)
        for host in world.spec.hosts
    )
    return tuple(await asyncio.gather(*jobs))


async def prove_voters(world: World, observed: Observed) -> tuple[Health, ...]:
    """Prove the present voters. The member list may differ from cluster.yaml."""
    jobs = (
        _prove(world, observed, name, why_without_vote, PROOF_TIMEOUT_S) for name in voter_names(observed)
    )
    return tuple(await asyncio.gather(*jobs))


async def prove_each(world: World, observed: Observed) -> tuple[Health, ...]:
    """Prove every member that cluster.yaml or the member list names. The two may differ."""
    jobs = (_prove(world, observed, name, why_without_vote, PROOF_TIMEOUT_S) for name in observed.members)
    return tuple(await asyncio.gather(*jobs))


async def _prove(world: World, observed: Observed, name: str, check: MemberCheck, timeout_s: float) -> Health:
    url = world.spec.client_url(host_of(world.spec, observed, name))
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen):
        return Health(name, url, 0, 0.0, seen.why)
    if why := check(observed, seen):
        return Health(name, url, seen.member_id, 0.0, why)
    began = world.clock.now()
    try:
        limit = await _prove_through(await world.etcd(name), member_limit(observed, seen), began, timeout_s)
    except EtcdupError as error:
        why = error.message.removeprefix(f"{name}: ")
        return Health(name, url, seen.member_id, world.clock.now() - began, why)
    return Health(name, url, seen.member_id, world.clock.now() - began, limit, limited=bool(limit))


async def _prove_through(client: EtcdClient, limit: str, now: float, timeout_s: float) -> str:
    """Prove a member by a write and a read, or by a read alone if etcd refuses writes. Return that limit, or ''.

    During an alarm etcdup does not write: its own write could raise NOSPACE again.
    """
    key = f"etcdup/health/{client.name}".encode()
    if not limit:
        try:
            await client.prove(key, f"{now:.6f}".encode(), timeout_s=timeout_s)
            return ""
        except NoSpace:
            limit = refused_writes(NOSPACE)
        except AuthRequired as refused:
            limit = refused_access(refused.message.removeprefix(f"{client.name}: "))
    with suppress(AuthRequired):  # etcd answers so only after a quorum has confirmed the read.
        await client.get(key, timeout_s=timeout_s)
    return limit


def why_not_as_specified(spec: Spec, observed: Observed, seen: MemberSeen) -> str:
    """Return why a member that answers is not as cluster.yaml requires, or an empty text if it is."""
    if why := why_without_vote(observed, seen):
        return why
    if {member.name for member in seen.members} == {host.name for host in spec.hosts}:
        return ""
    return "its member list differs from cluster.yaml: " + ", ".join(
        sorted(member.name or "unstarted" for member in seen.members)
    )


def why_unhealthy(observed: Observed, seen: MemberSeen) -> str:
    """Return why a member that answers is not a healthy voter, or an empty text if it is one."""
    return why_without_vote(observed, seen) or member_limit(observed, seen)


def why_without_vote(observed: Observed, seen: MemberSeen) -> str:
    """Return why a member that answers has no vote in a quorum, or an empty text if it has one.

    An alarm costs no vote.
    """
    others = observed.answering()
    if not seen.leader_id:
        return "it has no leader"
    if seen.is_learner:
        return "it is a learner and has no vote yet"
    if len({other.cluster_id for other in others.values()}) > 1:
        return "members belong to different clusters"
    return "; ".join(seen.errors)


def has_quorum(results: tuple[Health, ...]) -> bool:
    """Return whether the members that are proved to vote are a quorum. An alarm alone does not end a quorum."""
    return sum(result.votes for result in results) >= quorum_of(len(results))


async def prove_whole(world: World, observed: Observed) -> tuple[Health, ...]:
    """Return the health proofs. Raises EtcdupError if a host is unreachable or a member is not healthy."""
    unreachable = [seen for name, seen in observed.unreachable().items() if name not in observed.leaving]
    results = await prove(world, observed)
    faults = [f"{result.name}: {result.why}" for result in results if not result.votes]
    faults += [f"{host.host} cannot be reached: {host.why}" for host in unreachable]
    limited, hints = _limits(world.spec, observed, results)
    faults += limited
    if faults:
        raise EtcdupError(
            "the cluster is not healthy" if len(faults) > 1 else f"the cluster is not healthy: {faults[0]}",
            detail="\n".join(faults) if len(faults) > 1 else "",
            hint="\n".join(hints) or "run `etcdup status` to see each member",
        )
    return results


def _limits(spec: Spec, observed: Observed, results: tuple[Health, ...]) -> tuple[list[str], list[str]]:
    """Return what etcd refuses, each limit once, and the hints. A limit can be newer than the observation."""
    known = limits(spec, observed)
    if known or not any(result.limited for result in results):
        followers = describe_followers(spec, observed)
        return [f"{followers}; {each.what}: {each.why}" for each in known], [each.hint for each in known]
    return list(dict.fromkeys(result.why for result in results if result.limited)), []
