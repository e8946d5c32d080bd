"""The members that the cluster has, and those that cluster.yaml names: what is to be done about the difference.

New members join as learners and are promoted, one at a time; a member that leaves is removed first, and its host
cleared then. Where both are wanted they take turns, so that a cluster never has more than one member too many and never
one too few (rules 25-37).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.members.bootstrap import refuse_join
from etcdup.core.members.member_list import answer_of, entry_of, member_list, name_of, stray_members
from etcdup.core.members.quorum import unhealthy, voter_count
from etcdup.core.observed.model import HostSeen, ListedMember, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import (
    AddLearner,
    DetachMember,
    JoinMember,
    PromoteMember,
    RemoveMember,
    SetAside,
    UpdatePeerUrl,
)
from etcdup.core.spec.model import HostSpec, Spec


@dataclass(frozen=True)
class MembershipChange:
    """What is to be done to the member list, in three parts between which other steps have their place.

    `removals` are of members that no longer serve and would be in the way (rule 26), `moves` are new addresses of
    members that stay, `turns` are joining and leaving in turn. `late_moves` are those of learners, once they vote:
    some releases take a learner's new address for its promotion (rule 23). `joining` are hosts that get a new member.
    """

    refused: tuple[Refused, ...] = ()
    removals: tuple[Step, ...] = ()
    moves: tuple[UpdatePeerUrl, ...] = ()
    turns: tuple[Step, ...] = ()
    late_moves: tuple[UpdatePeerUrl, ...] = ()
    joining: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.refused or self.removals or self.moves or self.turns or self.late_moves)


def membership_change(spec: Spec, observed: Observed) -> MembershipChange:
    """What separates the member list from cluster.yaml. Nothing where no member tells a list."""
    members = member_list(observed)
    if not members:
        return MembershipChange()
    if refused := _refuse_duplicate_names(members):
        return MembershipChange(refused=refused)
    newcomers = [host for host in spec.hosts if _is_joining(spec, host, observed)]
    refused = tuple(
        reason
        for host in spec.hosts
        for reason in (_refuse_joining if host in newcomers else _refuse_moving)(spec, host, observed)
    )
    leaving = sorted(stray_members(spec, members), key=lambda each: _rank(each, observed))
    idle = [each for each in leaving if _is_idle(each, observed)]
    return MembershipChange(
        refused=refused,
        removals=(
            *_clear_departed_steps(spec, observed),
            *_removal_steps(spec, observed, idle),
            *_replaced_removal_steps(spec, observed),
        ),
        moves=tuple(_move_steps(spec, observed, learners=False)),
        turns=tuple(_turn_steps(spec, observed, newcomers, [each for each in leaving if each not in idle])),
        late_moves=tuple(_move_steps(spec, observed, learners=True)),
        joining=tuple(host.name for host in newcomers),
    )


def refuse_mixed_clusters(observed: Observed) -> tuple[Refused, ...]:
    """Members of different clusters under one name: nothing may be changed before a person has looked."""
    answering = observed.answering()
    if len({seen.cluster_id for seen in answering.values()}) < 2:
        return ()
    parts = ", ".join(f"{name} is in {seen.cluster_id:x}" for name, seen in sorted(answering.items()))
    return (
        Refused(
            f"the members belong to different clusters: {parts}",
            hint="stop here: find out which one your clients' data is in before anything is changed",
            rules=(4, 65),
        ),
    )


def is_replaced(seen: HostSeen | None, entry: ListedMember | None) -> bool:
    """Whether the host bears the mark of `member replace` for this very member."""
    mark = seen.marker if seen else None
    return mark is not None and entry is not None and mark.replaces == f"{entry.member_id:x}"


def holds_data(seen: HostSeen) -> bool:
    """Whether anything is in the way of a member that must start empty."""
    return seen.unit.is_running or any(not each.is_empty for each in (seen.data, seen.wal) if each)


def _refuse_duplicate_names(members: tuple[ListedMember, ...]) -> tuple[Refused, ...]:
    names = [each.name for each in members if each.name]
    twins = sorted({name for name in names if names.count(name) > 1})
    if not twins:
        return ()
    return (
        Refused(
            f"the cluster has several members called {', '.join(twins)}",
            hint="remove the dead one by its ID: `etcdup ctl -- member list`, then `etcdup ctl -- member remove ID`",
            rules=(25,),
        ),
    )


def _is_joining(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    """Whether this host's member has yet to become a voter, or gives way to one that has."""
    entry = entry_of(spec, host, member_list(observed))
    return entry is None or entry.is_learner or is_replaced(observed.reachable().get(host.name), entry)


def _is_lost(seen: HostSeen | None) -> bool:
    return seen is not None and not seen.has_member


def _refuse_joining(spec: Spec, host: HostSpec, observed: Observed) -> tuple[Refused, ...]:
    gone = observed.unreachable().get(host.name)
    if gone is not None:
        hint = gone.hint or "a new member needs its host; to wait with it, take it out of cluster.yaml"
        return (
            Refused(f"{host.name} is to join, and cannot be reached: {gone.why}", hint, host.name, (25,)),
        )
    return refuse_join(spec, host, observed.reachable()[host.name])


def _refuse_moving(spec: Spec, host: HostSpec, observed: Observed) -> tuple[Refused, ...]:
    """A member that is listed under another address must be there, with its data, to be given this one."""
    entry = entry_of(spec, host, member_list(observed))
    assert entry is not None, "else it would be joining"
    seen = observed.reachable().get(host.name)
    if spec.peer_url(host) in entry.peer_urls or (seen is not None and seen.has_member):
        return ()
    why = observed.unreachable()[host.name].why if seen is None else f"{seen.data.path} there holds no member"
    return (
        Refused(
            f"{host.name} is in the cluster as {', '.join(entry.peer_urls)}, and cluster.yaml says "
            f"{spec.peer_url(host)}: {why}",
            hint=f"for a new machine in its place: `etcdup member replace {host.name}`; for the same machine with a "
            "new address: bring it up there with its data",
            host=host.name,
            rules=(32, 36),
        ),
    )


def _rank(member: ListedMember, observed: Observed) -> tuple[int, str]:
    """Those that serve nobody first, the leader last."""
    seen = answer_of(observed, member)
    if seen is None or member.is_learner:
        return (0, name_of(member))
    return (2 if seen.leader_id == seen.member_id else 1, name_of(member))


def _is_idle(member: ListedMember, observed: Observed) -> bool:
    return member.is_learner or not member.name or name_of(member) in unhealthy(observed)


def departed_hosts(observed: Observed) -> tuple[str, ...]:
    """Hosts whose members have left the cluster, as far as a member list says so: to be cleared, or cleared already."""
    members = member_list(observed)
    there = {name_of(each) for each in members}
    return tuple(sorted(observed.leaving.keys() - there)) if members else ()


def is_ours(spec: Spec, seen: HostSeen | None) -> bool:
    """Whether the host bears this member's mark: only then is what is on it ours to move."""
    return seen is not None and seen.is_marked(spec.name)


def _clear_departed_steps(spec: Spec, observed: Observed) -> list[Step]:
    reason = "its member has left the cluster"
    return [
        DetachMember(host=name, reason=reason, rules=(31, 33))
        for name in departed_hosts(observed)
        if is_ours(spec, observed.reachable().get(name))
    ]


def _removal_steps(spec: Spec, observed: Observed, members: list[ListedMember]) -> list[Step]:
    return [step for member in members for step in _leave_steps(spec, observed, member)]


def _leave_steps(spec: Spec, observed: Observed, member: ListedMember) -> Iterator[Step]:
    """Off the list first: a voter that is only stopped still counts, and one more to fail would take the quorum."""
    name = name_of(member)
    reason = "cluster.yaml no longer names it"
    if not member.name:
        reason = f"{', '.join(member.peer_urls)} was added, never started, and is not in cluster.yaml"
    yield RemoveMember(host=name, member_id=f"{member.member_id:x}", reason=reason, rules=(26, 34, 35))
    if is_ours(spec, observed.reachable().get(name)):
        yield DetachMember(host=name, reason="its member has left the cluster", rules=(31, 33))


def _replaced_removal_steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    """Old members whose hosts get new ones, and learners whose data is gone."""
    for host in spec.hosts:
        entry = entry_of(spec, host, member_list(observed))
        seen = observed.reachable().get(host.name)
        if entry is None or not _is_to_be_replaced(seen, entry):
            continue
        why = "a new member takes its place" if is_replaced(seen, entry) else "its data is gone"
        yield RemoveMember(host=host.name, member_id=f"{entry.member_id:x}", reason=why, rules=(26, 31, 32))


def _move_steps(spec: Spec, observed: Observed, *, learners: bool) -> Iterator[UpdatePeerUrl]:
    for host in spec.hosts:
        entry = entry_of(spec, host, member_list(observed))
        url = spec.peer_url(host)
        if entry is None or url in entry.peer_urls or entry.is_learner != learners:
            continue
        if not _is_to_be_replaced(observed.reachable().get(host.name), entry):
            reason = f"the cluster knows it as {', '.join(entry.peer_urls)}"
            ident = f"{entry.member_id:x}"
            yield UpdatePeerUrl(host=host.name, member_id=ident, peer_url=url, reason=reason, rules=(36,))


def _is_to_be_replaced(seen: HostSeen | None, entry: ListedMember) -> bool:
    """Whether this member is to be removed and another one added in its place."""
    return is_replaced(seen, entry) or (entry.is_learner and bool(entry.name) and _is_lost(seen))


def _turn_steps(
    spec: Spec, observed: Observed, newcomers: list[HostSpec], leaving: list[ListedMember]
) -> Iterator[Step]:
    """One joins, one leaves, and so on. Whose turn it is, the number of voters tells: a plan made half-way goes on
    as this one would have."""
    idle = [each for each in stray_members(spec, member_list(observed)) if each not in leaving]
    voting = voter_count(observed) - sum(not each.is_learner for each in idle)
    voting -= sum(_is_voter(spec, host, observed) for host in newcomers)
    joining = sorted(newcomers, key=lambda host: not _has_begun(spec, host, observed))
    going = list(leaving)
    while joining or going:
        begun = bool(joining) and _has_begun(spec, joining[0], observed)
        one_too_many = voting > spec.size and voting % 2 == 0
        if going and not begun and (one_too_many or not joining):
            yield from _leave_steps(spec, observed, going.pop(0))
            voting -= 1
        else:
            yield from _join_steps(spec, joining.pop(0), observed)
            voting += 1


def _has_begun(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    """Whether this newcomer is in the member list already: nobody else joins or leaves before it votes."""
    entry = entry_of(spec, host, member_list(observed))
    return entry is not None and not is_replaced(observed.reachable().get(host.name), entry)


def _is_voter(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    entry = entry_of(spec, host, member_list(observed))
    return entry is not None and not entry.is_learner


def _join_steps(spec: Spec, host: HostSpec, observed: Observed) -> Iterator[Step]:
    entry = entry_of(spec, host, member_list(observed))
    seen = observed.reachable().get(host.name)
    if entry is None or is_replaced(seen, entry) or (entry.name and _is_lost(seen)):
        reason = "cluster.yaml names it" if entry is None else "it takes the place of the member that goes"
        if seen is not None and holds_data(seen):
            yield SetAside(host=host.name, reason="its data is of a member that was removed", rules=(31, 32))
        yield AddLearner(host=host.name, peer_url=spec.peer_url(host), reason=reason, rules=(25, 27, 28))
        yield JoinMember(host=host.name, reason="it is new", rules=(31,))
    elif answer_of(observed, entry) is None:
        yield JoinMember(host=host.name, reason="it was added and does not answer yet", rules=(31,))
    yield PromoteMember(host=host.name, reason="a learner has no vote", rules=(29, 35))
