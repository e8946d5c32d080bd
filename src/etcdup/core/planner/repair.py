"""`maintain repair`: a new member replaces one whose data differs from that of a majority, or is damaged.

The hashes of all members decide, and never an alarm or one member alone (rules 81, 82). The rest is a replacement
(replace.py): one step for the marker, and then the ordinary plan. An alarm CORRUPT is disarmed as soon as the member
with other data is removed, because until then the cluster refuses writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import repair_hint
from etcdup.core.members.limits import is_corrupt, is_named_corrupt, refuse_disarm_corrupt
from etcdup.core.members.member_list import member_list, name_of, voter_names
from etcdup.core.members.quorum import healthy, quorum_of, unhealthy, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import AddLearner, DisarmCorruptAlarm, RemoveMember
from etcdup.core.planner.planner import plan
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec

_RULES = (81, 82)
_AGAIN = "run `etcdup maintain verify` to see each hash, then run the same command again"


@dataclass(frozen=True)
class Evidence:
    """The hashes of the members, and how the log of the member says that its data is damaged; empty if it does not."""

    hashes: tuple[MemberHash, ...]
    damage: str = ""


@dataclass(frozen=True)
class Repair:
    """What is to do for a member.

    `replace`: its data is wrong. `resume`: an earlier run began to replace it. `disarm`: its data is that of all
    others, so only an alarm is left.
    """

    kind: Literal["replace", "resume", "disarm"]
    member: str
    member_id: int = 0
    fault: str = ""


def is_repair_begun(spec: Spec, name: str, observed: Observed) -> bool:
    """Return whether an earlier run marked this member for its replacement, or removed it already."""
    seen = observed.reachable().get(name)
    marked = seen is not None and seen.marker is not None and bool(seen.marker.replaces)
    return marked and id_to_replace(spec, name, observed) == 0


def same_data(observed: Observed, hashes: tuple[MemberHash, ...]) -> tuple[str, ...]:
    """Return the members of a majority of the voters that have the same data; none without such a majority.

    Data is the same if the hash, its revision and the compaction are equal. Each voter counts once.
    """
    voters = healthy(observed)
    groups: dict[tuple[int, int, int], set[str]] = {}
    for each in hashes:
        if not each.why and each.member in voters:
            groups.setdefault((each.compacted, each.revision, each.value), set()).add(each.member)
    largest = max(groups.values(), key=len, default=set[str]())
    return tuple(sorted(largest)) if len(largest) >= quorum_of(voter_count(observed)) else ()


def decide_repair(
    spec: Spec, name: str, observed: Observed, evidence: Evidence
) -> Repair | tuple[Refused, ...]:
    """Return what is to do, or every reason against it."""
    if is_repair_begun(spec, name, observed):
        reasons = refuse_other_data(name, observed, evidence.hashes)
        return reasons or Repair("resume", name)
    found = id_to_replace(spec, name, observed)
    if isinstance(found, Refused):
        return (found,)
    if not found:
        return (_no_voter(name),)
    if reasons := tuple(_reasons_of_cluster(name, observed)):
        return reasons
    if reasons := refuse_other_data(name, observed, evidence.hashes):
        return reasons
    right = same_data(observed, evidence.hashes)
    if name in right:
        return Repair("disarm", name)
    fault = _fault(name, observed, evidence, right)
    if isinstance(fault, Refused):
        return (fault,)
    return Repair("replace", name, found, fault)


def plan_repair(spec: Spec, repair: Repair, observed: Observed, token: str) -> Plan | Refusal:
    """Return the steps that are left of a repair."""
    if reasons := refuse_disarm_corrupt(repair.member, observed):
        return Refusal(spec.name, reasons)
    match repair.kind:
        case "replace":
            answer = plan_replacement(
                spec, repair.member, repair.member_id, observed, token, fault=repair.fault
            )
        case "resume":
            answer = plan(spec, observed, token)
        case "disarm":
            answer = Plan(spec.name)
    if isinstance(answer, Refusal):
        return answer
    if repair.kind == "replace" and (reasons := refuse_other_changes(answer, repair.member)):
        return Refusal(spec.name, reasons)
    return replace(answer, steps=(*_with_disarm(answer.steps, repair, observed),))


def refuse_other_changes(answer: Plan, name: str) -> tuple[Refused, ...]:
    """Refuse to repair a member while cluster.yaml also changes other members: that can be refused half-way."""
    other = next(
        (
            step.host
            for step in answer.steps
            if isinstance(step, AddLearner | RemoveMember) and step.host != name
        ),
        "",
    )
    if not other:
        return ()
    return (
        Refused(
            f"cluster.yaml also adds or removes {other}, and only the data of {name} is repaired",
            hint=f"write the present members into cluster.yaml, run `etcdup maintain repair {name}`, then change them",
            host=other,
            rules=(34,),
        ),
    )


def _with_disarm(steps: tuple[Step, ...], repair: Repair, observed: Observed) -> Iterator[Step]:
    """Yield the steps, with the one that disarms CORRUPT after the removal of the member."""
    removals = [
        at for at, step in enumerate(steps) if isinstance(step, RemoveMember) and step.host == repair.member
    ]
    first = removals[0] + 1 if removals else 0
    yield from steps[:first]
    if is_corrupt(observed):
        why = "CORRUPT is active, and the members that are left have the same data"
        if repair.kind == "disarm":
            why = "CORRUPT is active, and all members have the same data"
        yield DisarmCorruptAlarm(member=repair.member, reason=why, rules=_RULES)
    yield from steps[first:]


def _no_voter(name: str) -> Refused:
    return Refused(
        f"{name} is no voter of the cluster, so its data is not compared",
        hint="run `etcdup apply`, which adds the members of cluster.yaml",
        host=name,
        rules=_RULES,
    )


def _reasons_of_cluster(name: str, observed: Observed) -> Iterator[Refused]:
    """Yield the reasons that do not depend on the data."""
    if waiting := [name_of(each) for each in member_list(observed) if each.is_learner or not each.name]:
        yield Refused(
            f"{', '.join(waiting)} {'is not a voter' if len(waiting) == 1 else 'are not voters'} yet, and members "
            "join one after the other",
            hint="run `etcdup apply` until all members are voters, then run the same command again",
            host=waiting[0],
            rules=(25, 28),
        )
    if ill := [each for each in unhealthy(observed) if each != name]:
        left = len(healthy(observed).keys() - {name})
        # Without so many others, the data of the lost member is necessary to know which data is right.
        is_decided = left >= quorum_of(voter_count(observed) - 1)
        yield Refused(
            f"{', '.join(ill)} {'is' if len(ill) == 1 else 'are'} not healthy, and {name} is only replaced while all "
            "others are",
            hint="run `etcdup status` to see why, and bring it back first"
            + (f". {_if_lost(ill[0], name, observed)}" if is_decided else ""),
            host=ill[0],
            rules=(34,),
        )


def refuse_other_data(name: str, observed: Observed, hashes: tuple[MemberHash, ...]) -> tuple[Refused, ...]:
    """Refuse unless all voters but this one have the same data and are a majority. A new member copies the data of one.

    With an empty name, all voters must have the same data.
    """
    right, others = same_data(observed, hashes), [each for each in voter_names(observed) if each != name]
    if right and set(others) <= set(right):
        return ()
    known = {each.member: each for each in hashes}
    if unread := [each for each in others if each not in known or known[each].why]:
        reason = known[unread[0]].why if unread[0] in known else "it does not answer"
        what = f"the data of {unread[0]} could not be compared: {reason}"
        return (Refused(what, hint=_AGAIN, host=unread[0], rules=_RULES),)
    if len({known[each].compacted for each in others}) > 1:
        what = "the members were compacted at different revisions, so their data could not be compared"
        return (Refused(what, hint=_AGAIN, rules=_RULES),)
    if right:
        odd = [each for each in voter_names(observed) if each not in right]
        first = next(each for each in odd if each != name)
        what = f"the data of {first} differs from that of {', '.join(right)}, and a new member could copy it"
        return (Refused(what, hint=repair_hint(right, odd), host=first, rules=_RULES),)
    what = f"no majority of the members has the same data: {_groups(hashes)}"
    return (Refused(what, hint=repair_hint((), ()), rules=_RULES),)


def _groups(hashes: tuple[MemberHash, ...]) -> str:
    return ", ".join(f"{each.member} has {each.value:08x}" for each in hashes if not each.why)


def _if_lost(name: str, then: str, observed: Observed) -> str:
    """Return how to continue without a member whose host or disk is lost.

    During the alarm, no other verb removes it.
    """
    if not is_corrupt(observed):
        return f"If its disk is lost, run `etcdup member replace {name}`"
    ident = next((each.member_id for each in member_list(observed) if name_of(each) == name), 0)
    return (
        f"If its host or disk is lost, run `etcdup ctl -- member remove {ident:x}`, then `etcdup maintain repair "
        f"{then}`, which disarms the alarm, then `etcdup apply`"
    )


def _fault(name: str, observed: Observed, evidence: Evidence, right: tuple[str, ...]) -> str | Refused:
    """Return what is wrong with the data of the member.

    Only its hash says that about a healthy member: another member may have raised the alarm without a reason.
    """
    source = ", ".join(right)
    if name not in healthy(observed):
        if evidence.damage:
            return f"{evidence.damage}, and {source} have the same data"
        if is_named_corrupt(name, observed) and name in observed.reachable():
            return f"it does not serve, the CORRUPT alarm names it, and {source} have the same data"
        return Refused(
            f"{name} is not healthy, and its log does not say that its data is damaged",
            hint=f"run `etcdup status` to see why. {_if_lost(name, right[0], observed)}",
            host=name,
            rules=_RULES,
        )
    own = next((each for each in evidence.hashes if each.member == name), None)
    basis = next(each for each in evidence.hashes if each.member == right[0])
    if own is None or own.why:
        what = f"the data of {name} could not be compared: {own.why if own else 'it does not answer'}"
        return Refused(what, hint=_AGAIN, host=name, rules=_RULES)
    if (own.compacted, own.revision) != (basis.compacted, basis.revision):
        what = f"the data of {name} could not be compared: it was compacted at {own.compacted}, that of {source} at "
        what += f"{basis.compacted}"
        return Refused(what, hint=_AGAIN, host=name, rules=_RULES)
    what = f"its data differs at revision {own.revision}: its hash is {own.value:08x}"
    return f"{what}, that of {source} is {basis.value:08x}"
