"""Changes of the member list: the steps from the members of the cluster to the members of cluster.yaml.

New members join as learners and are promoted, one at a time. A member that leaves is removed from the list first, then
its host is cleared. If members join and others leave, the changes alternate. So the cluster never has more than one
member too many, and never one too few (rules 25-37).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.members.bootstrap import refuse_join
from etcdup.core.members.member_identity import refuse_new_majority, refuse_other_member, refuse_other_names
from etcdup.core.members.member_list import (
    answer_of,
    entry_of,
    member_list,
    name_of,
    peer_url_difference,
    stray_members,
)
from etcdup.core.members.peer_ports import refuse_blocked_ports
from etcdup.core.members.quorum import healthy, unhealthy, voter_count
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import SetAside
from etcdup.core.plan.member_steps import (
    AddLearner,
    DetachMember,
    JoinMember,
    PromoteMember,
    RemoveMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import HostSpec, Spec

_DETACHED = "its member has left the cluster; the private keys on the host are deleted"


@dataclass(frozen=True)
class MembershipChange:
    """The changes of the member list, in groups. The planner puts other steps between the groups.

    `removals` are members that do not serve any more and would prevent an addition (rule 26).
    `moves` are new addresses of members that stay.
    `turns` are additions and removals, alternating. A healthy member that is replaced is removed here.
    `late_moves` are new addresses of learners, after their promotion: some releases promote a learner when its address
    changes (rule 23).
    `joining` are the hosts that get a new member.
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
    """Return the changes from the member list to cluster.yaml; no changes if no member reports a list."""
    members = member_list(observed)
    if not members:
        return MembershipChange()
    if refused := refuse_other_names(spec, observed) or _refuse_duplicate_names(members):
        return MembershipChange(refused=refused)
    newcomers = [host for host in spec.hosts if _is_joining(spec, host, observed)]
    refused = tuple(
        reason
        for host in spec.hosts
        for reason in (_refuse_joining if host in newcomers else _refuse_moving)(spec, host, observed)
    )
    refused = (*refuse_new_majority(spec, observed), *refused)
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


def is_replaced(seen: HostSeen | None, entry: ListedMember | None) -> bool:
    """Return whether `etcdup member replace` has marked the host for the replacement of exactly this member."""
    marker = seen.marker if seen else None
    return marker is not None and entry is not None and marker.replaces == f"{entry.member_id:x}"


def holds_data(seen: HostSeen) -> bool:
    """Return whether etcd runs or data exists on the host. A new member must start with empty directories."""
    return seen.unit.is_running or any(not each.is_empty for each in (seen.data, seen.wal) if each)


def _refuse_duplicate_names(members: tuple[ListedMember, ...]) -> tuple[Refused, ...]:
    names = [each.name for each in members if each.name]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if not duplicates:
        return ()
    return (
        Refused(
            f"the cluster has several members with the name {', '.join(duplicates)}",
            hint="find the ID of the dead member with `etcdup ctl -- member list`, then run "
            "`etcdup ctl -- member remove ID`",
            rules=(25,),
        ),
    )


def _is_joining(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    """Return whether the host gets a new member: it has none, or a learner, or its member is being replaced."""
    entry = entry_of(spec, host, member_list(observed))
    return entry is None or entry.is_learner or is_replaced(observed.reachable().get(host.name), entry)


def _is_lost(seen: HostSeen | None) -> bool:
    return seen is not None and not seen.has_member


def _refuse_joining(spec: Spec, host: HostSpec, observed: Observed) -> tuple[Refused, ...]:
    gone = observed.unreachable().get(host.name)
    if gone is not None:
        hint = f"take {host.name} out of cluster.yaml for now, or make it reachable"
        hint = f"{hint}: {gone.hint}" if gone.hint else hint
        return (
            Refused(
                f"{host.name} cannot join the cluster, because the host cannot be reached: {gone.why}",
                hint,
                host.name,
                (25,),
            ),
        )
    return refuse_join(spec, host, observed.reachable()[host.name], observed)


def _refuse_moving(spec: Spec, host: HostSpec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a new address for a member whose host cannot be reached or has no data of the member."""
    entry = entry_of(spec, host, member_list(observed))
    assert entry is not None, "otherwise the host would be joining"
    seen = observed.reachable().get(host.name)
    if spec.peer_url(host) in entry.peer_urls:
        return ()
    if other := refuse_other_member(spec, host, entry, observed):
        return other
    if seen is not None and seen.has_member:
        return tuple(refuse_blocked_ports(spec, observed, host.name))
    why = (
        observed.unreachable()[host.name].why
        if seen is None
        else f"{seen.data.path} on the host contains no member"
    )
    return (
        Refused(
            f"{peer_url_difference(spec, host, entry)}: {why}",
            hint=f"if this is a new machine, run `etcdup member replace {host.name}`. If it is the same machine "
            "with a new address, start it at this address with its data",
            host=host.name,
            rules=(32, 36),
        ),
    )


def _rank(member: ListedMember, observed: Observed) -> tuple[int, str]:
    """Return the rank in the order of removal: members that do not answer and learners first, the leader last."""
    seen = answer_of(observed, member)
    if seen is None or member.is_learner:
        return (0, name_of(member))
    return (2 if seen.leader_id == seen.member_id else 1, name_of(member))


def _is_idle(member: ListedMember, observed: Observed) -> bool:
    return member.is_learner or not member.name or name_of(member) in unhealthy(observed)


def departed_hosts(observed: Observed) -> tuple[str, ...]:
    """Return the hosts whose members are not in the member list any more, cleared or not; none without a list."""
    members = member_list(observed)
    listed = {name_of(each) for each in members}
    return tuple(sorted(observed.leaving.keys() - listed)) if members else ()


def _has_marker(spec: Spec, observed: Observed, name: str) -> bool:
    """Return whether a host that leaves has the marker of this member. Only then etcdup may change what is on it.

    Without an entry in cluster.yaml, the name of the host is not known, only that of the member in etcd.
    """
    seen, host = observed.reachable().get(name), observed.leaving.get(name)
    marker = seen.marker_of(spec.name) if seen is not None else None
    if marker is None:
        return False
    return marker.member == name or (host is not None and marker.member_name == host.member_name)


def _clear_departed_steps(spec: Spec, observed: Observed) -> list[Step]:
    return [
        DetachMember(host=name, reason=_DETACHED, rules=(31, 33))
        for name in departed_hosts(observed)
        if _has_marker(spec, observed, name)
    ]


def _removal_steps(spec: Spec, observed: Observed, members: list[ListedMember]) -> list[Step]:
    return [step for member in members for step in _leave_steps(spec, observed, member)]


def _leave_steps(spec: Spec, observed: Observed, member: ListedMember) -> Iterator[Step]:
    """Remove the member from the list before its host is cleared.

    A stopped voter still counts for the quorum, so one more failure could lose the quorum.
    """
    name = name_of(member)
    reason = "the member list has it, cluster.yaml does not"
    if not member.name:
        reason = f"{', '.join(member.peer_urls)} was added and never started, and is not in cluster.yaml"
    yield RemoveMember(host=name, member_id=f"{member.member_id:x}", reason=reason, rules=(26, 34, 35))
    if _has_marker(spec, observed, name):
        yield DetachMember(host=name, reason=_DETACHED, rules=(31, 33))


def _replaced_removal_steps(spec: Spec, observed: Observed) -> Iterator[Step]:
    """Yield the removal of each member that is replaced on its host and not healthy, and of learners without data."""
    for host in spec.hosts:
        if not _is_replaced_in_turn(spec, host, observed):
            yield from _replaced_removal(spec, host, observed)


def _replaced_removal(spec: Spec, host: HostSpec, observed: Observed) -> Iterator[Step]:
    entry = entry_of(spec, host, member_list(observed))
    seen = observed.reachable().get(host.name)
    if entry is not None and _is_to_be_replaced(seen, entry):
        reason = "a new member replaces it" if is_replaced(seen, entry) else "its data is lost"
        yield RemoveMember(
            host=host.name, member_id=f"{entry.member_id:x}", reason=reason, rules=(26, 31, 32)
        )


def _is_replaced_in_turn(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    """Return whether the member of the host is replaced and still healthy.

    It serves clients and prevents no addition, so it stays until lost members are replaced and no other member joins.
    """
    entry = entry_of(spec, host, member_list(observed))
    serving = {seen.member_id for seen in healthy(observed).values()}
    is_healthy = entry is not None and entry.member_id in serving
    return is_healthy and is_replaced(observed.reachable().get(host.name), entry)


def _move_steps(spec: Spec, observed: Observed, *, learners: bool) -> Iterator[UpdatePeerUrl]:
    for host in spec.hosts:
        entry = entry_of(spec, host, member_list(observed))
        url = spec.peer_url(host)
        if entry is None or url in entry.peer_urls or entry.is_learner != learners:
            continue
        if not _is_to_be_replaced(observed.reachable().get(host.name), entry):
            reason = f"its peer URL in the member list is {', '.join(entry.peer_urls)}"
            ident = f"{entry.member_id:x}"
            yield UpdatePeerUrl(host=host.name, member_id=ident, peer_url=url, reason=reason, rules=(36,))


def _is_to_be_replaced(seen: HostSeen | None, entry: ListedMember) -> bool:
    """Return whether this member is removed and a new one is added on its host."""
    return is_replaced(seen, entry) or (entry.is_learner and bool(entry.name) and _is_lost(seen))


def _turn_steps(
    spec: Spec, observed: Observed, newcomers: list[HostSpec], leaving: list[ListedMember]
) -> Iterator[Step]:
    """Yield additions and removals in turn.

    The number of voters decides which one is next. So a plan that is made half-way continues in the same order.
    """
    idle = [each for each in stray_members(spec, member_list(observed)) if each not in leaving]
    voting = voter_count(observed) - sum(not each.is_learner for each in idle)
    in_turn = [host for host in newcomers if _is_replaced_in_turn(spec, host, observed)]
    voting -= sum(_is_voter(spec, host, observed) for host in newcomers if host not in in_turn)
    joining = sorted(newcomers, key=lambda host: (not _has_begun(spec, host, observed), host in in_turn))
    going = list(leaving)
    while joining or going:
        begun = bool(joining) and _has_begun(spec, joining[0], observed)
        one_too_many = voting > spec.size and voting % 2 == 0
        if going and not begun and (one_too_many or not joining):
            yield from _leave_steps(spec, observed, going.pop(0))
            voting -= 1
        else:
            host = joining.pop(0)
            if host in in_turn:
                yield from _replaced_removal(spec, host, observed)
                voting -= 1
            yield from _join_steps(spec, host, observed)
            voting += 1


def _has_begun(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    """Return whether the new member is in the member list already. Until it votes, no other member joins or leaves."""
    entry = entry_of(spec, host, member_list(observed))
    return entry is not None and not is_replaced(observed.reachable().get(host.name), entry)


def _is_voter(spec: Spec, host: HostSpec, observed: Observed) -> bool:
    entry = entry_of(spec, host, member_list(observed))
    return entry is not None and not entry.is_learner


def _join_steps(spec: Spec, host: HostSpec, observed: Observed) -> Iterator[Step]:
    entry = entry_of(spec, host, member_list(observed))
    seen = observed.reachable().get(host.name)
    if entry is None or is_replaced(seen, entry) or (entry.name and _is_lost(seen)):
        reason = (
            "cluster.yaml has it, the member list does not"
            if entry is None
            else "it replaces the removed member"
        )
        if seen is not None and holds_data(seen):
            yield SetAside(host=host.name, reason="its data is of a removed member", rules=(31, 32))
        yield AddLearner(host=host.name, peer_url=spec.peer_url(host), reason=reason, rules=(25, 27, 28))
        yield JoinMember(host=host.name, reason="it is a new member", rules=(31,))
    elif answer_of(observed, entry) is None:
        yield JoinMember(host=host.name, reason="it was added and does not answer yet", rules=(31,))
    yield PromoteMember(host=host.name, reason="a learner has no vote", rules=(29, 35))
