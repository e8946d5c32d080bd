"""Guards before the set of voters changes: each answers why not, or None (rules 25-37).

etcd's own check is not enough: it counts dead members as started, and from 3.5.30 on it lets a cluster grow
while a voter is dead (rule 28).
"""

from etcdup.core.members.member_list import answer_of, entry_of, member_list, name_of
from etcdup.core.members.quorum import healthy, quorum_of, refuse_corrupt_alarm, unhealthy, voter_count
from etcdup.core.observed.model import ListedMember, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec


def refuse_add(name: str, observed: Observed) -> tuple[Refused, ...]:
    """A learner is added to a whole and healthy cluster only, one at a time (rules 25-29, 50)."""
    if reason := _refuse_without_quorum(name, "added", observed) or refuse_corrupt_alarm(observed):
        return reason
    members = member_list(observed)
    if waiting := [name_of(each) for each in members if each.is_learner or not each.name]:
        return (
            Refused(
                f"{name} is not added while {', '.join(waiting)} has yet to become a voter",
                hint="one change at a time: run `etcdup apply` again once that is done",
                host=name,
                rules=(25, 28, 29),
            ),
        )
    if ill := unhealthy(observed):
        return (
            Refused(
                f"{name} is not added while {', '.join(ill)} is not healthy",
                hint="bring it back, replace it (`etcdup member replace`), or take it out of cluster.yaml",
                host=name,
                rules=(26, 28),
            ),
        )
    return _refuse_mixed_minors(name, observed) or _refuse_nospace_alarm(name, observed)


def refuse_promote(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """A learner that answers gets its vote when the voters that are then alive are a quorum (rule 35)."""
    entry = entry_of(spec, spec.host(name), member_list(observed))
    if entry is None or not entry.is_learner:
        return ()
    if answer_of(observed, entry) is None:
        return (
            Refused(
                f"{name} is a learner that does not answer, so it cannot be told whether it is in sync",
                hint="`etcdup status` shows why; a learner that is lost can be taken out of cluster.yaml",
                host=name,
                rules=(29,),
            ),
        )
    after, alive = voter_count(observed) + 1, len(healthy(observed)) + 1
    if alive >= quorum_of(after):
        return _refuse_without_quorum(name, "promoted", observed)
    return (_quorum_loss(name, "promoting", after, alive),)


def refuse_remove(member_id: int, observed: Observed) -> tuple[Refused, ...]:
    """A member is removed when the healthy ones that stay are a quorum of those that stay (rules 34, 35)."""
    entry = next((each for each in member_list(observed) if each.member_id == member_id), None)
    if entry is None:
        return ()
    name = name_of(entry)
    if reason := _refuse_without_quorum(name, "removed", observed) or refuse_corrupt_alarm(observed):
        return reason
    if entry.is_learner:
        return ()
    return _refuse_while_others_unhealthy(entry, "removed", observed) or _refuse_quorum_loss(entry, observed)


def refuse_detach(name: str, observed: Observed) -> tuple[Refused, ...]:
    """A host is cleared when its member is off the list, which only a quorum can say, or when the others keep a
    quorum without it.

    A member that is not healthy may be so because there is no quorum: its data may then be what brings one back.
    """
    entry = next((each for each in member_list(observed) if name_of(each) == name), None)
    if entry is None:
        return _refuse_without_quorum(name, "cleared", observed)
    if entry.is_learner:
        return ()
    if name not in healthy(observed):
        return _refuse_without_quorum(name, "stopped", observed)
    voting, left = voter_count(observed), len(healthy(observed)) - 1
    if left < quorum_of(voting):
        return (_quorum_loss(name, "stopping", voting, left),)
    return _refuse_while_others_unhealthy(entry, "stopped", observed) or refuse_corrupt_alarm(observed)


def refuse_archive_data(name: str, observed: Observed) -> tuple[Refused, ...]:
    """A host's data gives way to a new member's when the member list is current, which takes a quorum, and the
    others keep theirs (rules 31, 32)."""
    return _refuse_without_quorum(name, "replaced", observed) or refuse_detach(name, observed)


def refuse_update_peer_url(name: str, observed: Observed) -> tuple[Refused, ...]:
    """A peer URL is changed while the other voters are a quorum: until it is restarted, the member may be cut off
    (rule 36)."""
    voting, left = voter_count(observed), len(healthy(observed).keys() - {name})
    if voting > 1 and left < quorum_of(voting):
        return (_quorum_loss(name, "changing the address of", voting, left),)
    return refuse_corrupt_alarm(observed)


def _refuse_without_quorum(name: str, done: str, observed: Observed) -> tuple[Refused, ...]:
    voting, alive = voter_count(observed), len(healthy(observed))
    if voting and alive >= quorum_of(voting):
        return ()
    return (
        Refused(
            f"{name} cannot be {done}: the cluster has no quorum ({alive} of {voting} voters are healthy)",
            hint="bring members back first; `etcdup status` says what is wrong with each",
            host=name,
            rules=(34,),
        ),
    )


def _refuse_while_others_unhealthy(entry: ListedMember, done: str, observed: Observed) -> tuple[Refused, ...]:
    name = name_of(entry)
    others = [each for each in unhealthy(observed) if each != name]
    if not others or name in unhealthy(observed):
        return ()
    return (
        Refused(
            f"{name} is healthy and is not {done} while {', '.join(others)} is not",
            hint="bring the sick member back or replace it first, or take that one out of cluster.yaml instead",
            host=name,
            rules=(34,),
        ),
    )


def _refuse_quorum_loss(entry: ListedMember, observed: Observed) -> tuple[Refused, ...]:
    after = voter_count(observed) - 1
    left = sum(seen.member_id != entry.member_id for seen in healthy(observed).values())
    if after >= 1 and left >= quorum_of(after):
        return ()
    return (_quorum_loss(name_of(entry), "removing", after, left),)


def _quorum_loss(name: str, doing: str, voting: int, alive: int) -> Refused:
    return Refused(
        f"{doing} {name} would lose the quorum: {alive} of {voting} voters would be healthy, "
        f"{quorum_of(max(voting, 1))} are needed",
        hint="bring the other members back first; `etcdup status` says what is wrong with each",
        host=name,
        rules=(34, 35),
    )


def _refuse_mixed_minors(name: str, observed: Observed) -> tuple[Refused, ...]:
    minors = sorted({seen.version.series for seen in observed.answering().values()})
    if len(minors) < 2:
        return ()
    shown = " and ".join(f"{major}.{minor}" for major, minor in minors)
    return (
        Refused(
            f"{name} is not added while the members run {shown}",
            hint="finish the change of version first",
            host=name,
            rules=(50,),
        ),
    )


def _refuse_nospace_alarm(name: str, observed: Observed) -> tuple[Refused, ...]:
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    if not any("NOSPACE" in alarm for alarm in alarms):
        return ()
    return (
        Refused(
            f"{name} is not added while the cluster has a NOSPACE alarm",
            hint="compact and defragment it, or raise `etcd.quota`, then disarm the alarm",
            host=name,
            rules=(70,),
        ),
    )
