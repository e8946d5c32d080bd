"""Prove the health of members by a write and a linearizable read through each of them (rule 11).

During an alarm etcd refuses writes, and without a user it refuses all requests for keys. A linearizable read alone
then proves that a member is part of a quorum.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.members.limits import FREE_SPACE_HINT, member_limit, refused_access, refused_writes
from etcdup.core.members.member_list import host_of, voter_names
from etcdup.core.members.quorum import quorum_of
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.verdict import Verdict, judge
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


def has_quorum(results: tuple[Health, ...], voters: int = 0) -> bool:
    """Return whether the members that are proved to vote are a quorum. An alarm alone does not end a quorum.

    `voters` is the number of voters in the member list, if it is known. Without it, each result counts as one: also a
    host that has no member yet.
    """
    voting = {result.member_id for result in results if result.votes}
    return len(voting) >= quorum_of(voters or len(results))


async def prove_whole(world: World, observed: Observed) -> tuple[Health, ...]:
    """Return the health proofs. Raises EtcdupError if a host is unreachable or a member is not healthy.

    The error has the causes of the verdict, and then what only the proof has found.
    """
    results = await prove(world, observed)
    gone = [name for name in observed.unreachable() if name not in observed.leaving]
    if gone or not all(result.ok for result in results):
        raise _not_healthy(judge(world.spec, observed, with_files=False), results)
    return results


def _not_healthy(verdict: Verdict, results: tuple[Health, ...]) -> EtcdupError:
    faults, hints = [], []
    for cause in verdict.wrong:
        faults += [cause.what, *(f"  {effect}" for effect in cause.effects)]
        hints += [cause.hint]
    faults += [
        f"{each.name}: {each.why}"
        for each in results
        if not each.votes and each.name not in verdict.explained
    ]
    if not verdict.wrong:
        limited = sorted({each.why for each in results if each.limited})
        faults += limited
        # A write that the proof sent has raised the alarm, so the observation does not have it.
        hints += [FREE_SPACE_HINT] if refused_writes(NOSPACE) in limited else []
    first, *rest = faults or ["a proof failed"]
    return EtcdupError(
        f"the cluster is not healthy: {first}",
        detail="\n".join(rest),
        hint="\n".join(dict.fromkeys(hints)) or "run `etcdup status` to see each member",
    )
