"""Guards before the set of voters changes: each returns the reasons against the step (rules 25-37).

The check of etcd is not enough: it counts dead members as started. From 3.5.30 on it permits an addition while a voter
is dead (rule 28).
"""

from collections.abc import Collection

from etcdup.core.members.member_list import answer_of, entry_of, member_list, name_of, stray_members
from etcdup.core.members.quorum import healthy, quorum_of, refuse_corrupt_alarm, unhealthy, voter_count
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version


def refuse_add(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow one addition at a time, and only if all voters are healthy (rules 25-29, 50)."""
    if reason := _refuse_without_quorum(name, "added", observed) or refuse_corrupt_alarm(observed):
        return reason
    members = member_list(observed)
    if waiting := [name_of(each) for each in members if each.is_learner or not each.name]:
        return (
            Refused(
                f"{name} cannot be added now, because {', '.join(waiting)} is not a voter yet",
                hint="run `etcdup status` until that member is a voter, then run `etcdup apply` again",
                host=name,
                rules=(25, 28, 29),
            ),
        )
    if ill := unhealthy(observed):
        return (
            Refused(
                f"{name} cannot be added now, because {', '.join(ill)} is not healthy",
                hint=f"bring {', '.join(ill)} back. Only if it is lost, run `etcdup member replace {ill[0]}`, or take "
                "it out of cluster.yaml",
                host=name,
                rules=(26, 28),
            ),
        )
    versions = [seen.version for seen in observed.answering().values()]
    return refuse_add_while_mixed(name, versions, voter_count(observed), observed)


def refuse_start_learner(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the first start of a member on a reachable host, if the member list has it and it is no voter yet."""
    entry = entry_of(spec, spec.host(name), member_list(observed))
    if name in observed.reachable() and entry is not None and (entry.is_learner or not entry.name):
        return ()
    return (
        Refused(
            f"{name} cannot be started as a new member: the member list has no learner for it",
            hint="run `etcdup apply` again: it observes the member list again and plans the rest",
            host=name,
            rules=(25, 31),
        ),
    )


def refuse_promote(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow the promotion of a learner that answers, if the healthy voters are a quorum after it (rule 35)."""
    entry = entry_of(spec, spec.host(name), member_list(observed))
    if entry is None or not entry.is_learner:
        return ()
    if answer_of(observed, entry) is None:
        return (
            Refused(
                f"{name} cannot be promoted: the learner does not answer, so it is unknown whether it is in sync",
                hint=f"run `etcdup status` to see why. If {name} is lost, take it out of cluster.yaml",
                host=name,
                rules=(29,),
            ),
        )
    after, alive = voter_count(observed) + 1, len(healthy(observed)) + 1
    if alive >= quorum_of(after):
        return _refuse_without_quorum(name, "promoted", observed)
    return (_quorum_loss(name, "promoting", after, alive),)


def refuse_remove(member_id: int, observed: Observed) -> tuple[Refused, ...]:
    """Allow a removal if the healthy members that stay are a quorum of all that stay (rules 34, 35)."""
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
    """Allow the clearing of a host if its member is not in the member list, or if the others keep a quorum without it.

    Only a quorum can confirm that a member left the list. A member can be unhealthy because there is no quorum: then
    its data may be necessary to get the quorum back.
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


def refuse_revoke_former(name: str, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Allow to revoke the certificates of a former member, if a quorum confirms that it has left the member list.

    A member can have another name in etcd than in the PKI. So no member that cluster.yaml does not name may be left.
    """
    strays = stray_members(spec, member_list(observed))
    return _refuse_without_quorum(name, "rejected by the other members", observed) or tuple(
        Refused(
            f"{name_of(each)} is still a member, although cluster.yaml does not name it",
            hint="run `etcdup apply` first, which removes it",
            host=name_of(each),
        )
        for each in strays
    )


def refuse_archive_data(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow the archiving of a host's data for a new member, if the cluster has a quorum and keeps it (rules 31, 32).

    Without a quorum, the member list may be out of date.
    """
    return _refuse_without_quorum(name, "replaced", observed) or refuse_detach(name, observed)


def refuse_update_peer_url(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow a new peer URL if the other voters are a quorum (rule 36).

    Until its restart, the member can be without a connection to the others.
    """
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
            hint="run `etcdup recover`: it starts stopped members, or says what each host needs",
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
            f"{name} cannot be {done} now: it is healthy, and {', '.join(others)} is not",
            hint=f"first bring {', '.join(others)} back or run `etcdup member replace {others[0]}`, or take it out of "
            "cluster.yaml instead",
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
        hint="run `etcdup status` to see the fault of each member, and bring the other members back first",
        host=name,
        rules=(34, 35),
    )


def refuse_add_while_mixed(
    name: str, versions: Collection[Version], voting: int, observed: Observed
) -> tuple[Refused, ...]:
    """While members run two minors, allow only an addition in place of a member that left (rule 50).

    The marker of the host shows this, or the number of voters, which is even without that member.
    """
    seen = observed.reachable().get(name)
    replaces = seen is not None and seen.marker is not None and bool(seen.marker.replaces)
    if replaces or voting % 2 == 0 or len({version.series for version in versions}) < 2:
        return ()
    return (refuse_while_mixed(name, "added", versions),)


def refuse_while_mixed(name: str, done: str, versions: Collection[Version]) -> Refused:
    """Return the reason against a change of the members while members run two minors (rule 50)."""
    minors = sorted({version.series for version in versions})
    shown = " and ".join(f"{major}.{minor}" for major, minor in minors)
    return Refused(
        f"{name} cannot be {done} now, because the members run {shown}",
        hint="complete the change of version first: run `etcdup apply` with the previous hosts in cluster.yaml. Then "
        "change the members",
        host=name,
        rules=(50,),
    )
