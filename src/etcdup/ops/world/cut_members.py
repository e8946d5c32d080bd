"""Find members that no connection of other members reaches: a firewall between peers, while SSH works.

Such a member never becomes ready, and its log has only timeouts. So the ports between the hosts are tried.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from etcdup.core.members.peer_ports import is_at_previous_address, refuse_cut_member, tried_ports
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.errors import EtcdupError
from etcdup.ops.world.observe_peer_ports import try_ports
from etcdup.ops.world.world import World


class PeersUnreachable(EtcdupError):
    """A member has no connection to the others. No file of the member is the cause."""


async def observe_links(world: World, observed: Observed, names: Iterable[str]) -> Observed:
    """Return the observation with the peer ports that these hosts do not reach, or at which no host reaches them.

    The ports of running members are open, so a connection to one of them that is refused is blocked.
    """
    new, seen = frozenset(names), observed.reachable()
    running = frozenset(
        host.name
        for host in world.spec.hosts
        if host.name in observed.running() and not is_at_previous_address(world.spec, host, seen[host.name])
    )
    tried = {
        host.name: {at: to for at, to in tried_ports(world.spec, host, new).items() if to in seen}
        for host in world.spec.hosts
        if host.name in seen
    }
    answers = await asyncio.gather(
        *(try_ports(world, name, targets, running) for name, targets in tried.items() if targets)
    )
    return replace(
        observed,
        blocked_ports=tuple(port for _, _, ports in answers for port in ports),
        firewalls={name: firewall for name, firewall, _ in answers},
    )


async def cut_reasons(world: World, observed: Observed, name: str) -> tuple[Refused, ...]:
    """Return why this member cannot follow the leader; empty if it may be able to."""
    found = await observe_links(world, observed, (name,))
    cut = {each.target for each in found.blocked_ports if each.source == name}
    cut &= {each.source for each in found.blocked_ports if each.target == name}
    if not cut or not _needs(cut, name, found):
        return ()
    return tuple(refuse_cut_member(world.spec, found, name, both_ways=True))


def _needs(cut: set[str], name: str, observed: Observed) -> bool:
    """Return whether the member needs one of these others: the leader, or all that run."""
    leaders = {
        each
        for each, seen in observed.answering().items()
        if seen.leader_id == seen.member_id and each != name
    }
    others = observed.running().keys() - {name} or healthy(observed).keys() - {name}
    return bool(leaders & cut) or others <= cut


async def refuse_stop_of_cut_member(world: World, observed: Observed, name: str) -> None:
    """Raise before a member is stopped that could not connect to the others again.

    A firewall can accept the packets of connections that exist, and no new ones.
    """
    for reason in await cut_reasons(world, observed, name):
        raise PeersUnreachable(f"{name} is not stopped: {reason.message}", hint=reason.hint)


async def give_up_on_cut_members(world: World, observed: Observed, names: Iterable[str]) -> None:
    """Raise if one of these members cannot follow the leader. Two observations must show that."""
    for name in names:
        if await cut_reasons(world, observed, name) and (reasons := await cut_reasons(world, observed, name)):
            detail = "\n".join(each.message for each in reasons[1:])
            raise PeersUnreachable(reasons[0].message, detail=detail, hint=reasons[0].hint)


async def with_blocked_ports(
    world: World, observed: Observed, names: Iterable[str], error: EtcdupError
) -> EtcdupError:
    """Return the error of a wait, with ports that are blocked in at least one direction as its first reason."""
    found = await observe_links(world, observed, names)
    reasons = [each for name in names for each in refuse_cut_member(world.spec, found, name)]
    if not reasons:
        return error
    detail = "\n".join(filter(None, (*(each.message for each in reasons), error.detail)))
    return PeersUnreachable(error.message, detail=detail, hint=reasons[0].hint)
