"""`maintain repair`: a new member replaces one whose data differs from that of a majority, or is damaged.

The hashes of all members decide, and never an alarm or one member alone (rules 81, 82). The rest is a replacement
(replace.py): one step for the marker, and then the ordinary plan. An alarm CORRUPT is disarmed as soon as the member
with other data is removed, because until then the cluster refuses writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from etcdup.core.members.limits import is_corrupt, refuse_disarm_corrupt
from etcdup.core.members.member_list import entry_of, member_list, name_of
from etcdup.core.members.quorum import healthy, quorum_of, unhealthy, voter_count
from etcdup.core.observed.member import ListedMember
from etcdup.core.observed.model import Observed
from etcdup.core.plan.certificate_steps import IssueCertificates
from etcdup.core.plan.database_steps import DisarmCorruptAlarm
from etcdup.core.plan.host_steps import InstallBinaries, ObtainBinaries, RecordEndpoints
from etcdup.core.plan.member_steps import AddLearner, RemoveMember, SealCluster
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import HostStep, Step
from etcdup.core.planner.planner import plan
from etcdup.core.planner.repair_data import RULES, Evidence, fault_of, if_lost, refuse_other_data, same_data
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec

_OTHER_CHANGES = (
    "cluster.yaml has other changes, which are no part of the repair: run `etcdup apply` after it"
)


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


def decide_repair(
    spec: Spec, name: str, observed: Observed, evidence: Evidence
) -> Repair | tuple[Refused, ...]:
    """Return what is to do, or every reason against it."""
    if is_repair_begun(spec, name, observed):
        return refuse_other_data(name, observed, evidence.hashes) or Repair("resume", name)
    found = id_to_replace(spec, name, observed)
    if isinstance(found, Refused):
        return (found,)
    if reasons := _refuse_now(name, found, observed) or refuse_other_data(name, observed, evidence.hashes):
        return reasons
    if name in same_data(observed, evidence.hashes):
        return Repair("disarm", name)
    fault = fault_of(name, observed, evidence)
    if isinstance(fault, Refused):
        return (fault,)
    return _refuse_leaving(spec, name, observed) or Repair("replace", name, found, fault)


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
    own = _own_steps(answer.steps, repair.member)
    notes = answer.notes if len(own) == len(answer.steps) else (*answer.notes, _OTHER_CHANGES)
    return replace(answer, steps=(*_with_disarm(own, repair, observed),), notes=notes)


def _own_steps(steps: tuple[Step, ...], name: str) -> tuple[Step, ...]:
    """Return the steps that the new member needs. Under the alarm, no other member may be changed.

    `apply` does the rest of cluster.yaml afterwards, with its own guards.
    """
    own = [step for step in map(partial(_for_one_host, name), steps) if _is_own(step, name)]
    versions = {step.version for step in own if isinstance(step, InstallBinaries)}
    return tuple(step for step in own if not isinstance(step, ObtainBinaries) or step.version in versions)


def _is_own(step: Step, name: str) -> bool:
    match step:
        case HostStep(host=host):
            return host == name
        case IssueCertificates(roles=roles):
            return bool(roles)
    return isinstance(step, ObtainBinaries | SealCluster | RecordEndpoints)


def _for_one_host(name: str, step: Step) -> Step:
    """Return the step that issues certificates without those of other hosts."""
    if not isinstance(step, IssueCertificates):
        return step
    return replace(
        step, roles=tuple(role for role in step.roles if "/" not in role or role.endswith(f"/{name}"))
    )


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


def _refuse_leaving(spec: Spec, name: str, observed: Observed) -> tuple[Refused, ...]:
    """Refuse if a voter that is not in cluster.yaml makes the number of voters even.

    The alarm forbids `apply` to remove it, and no cluster.yaml can name all of them. All voters but the repaired one
    have the same data. From four voters on, they are a majority also without the one that is removed.
    """
    known = {entry.member_id for host in spec.hosts if (entry := entry_of(spec, host, member_list(observed)))}
    leaving = next((each for each in member_list(observed) if each.member_id not in known), None)
    if leaving is None or not is_corrupt(observed) or voter_count(observed) % 2 or voter_count(observed) < 4:
        return ()
    return (
        Refused(
            f"{name_of(leaving)} is a member and not in cluster.yaml, and only the data of {name} is repaired",
            hint=_removal_hint(leaving),
            host=name_of(leaving),
            rules=(34,),
        ),
    )


def _removal_hint(*members: ListedMember) -> str:
    removals = " and ".join(f"`etcdup ctl -- member remove {each.member_id:x}`" for each in members)
    return f"run {removals}, which etcd permits under the alarm CORRUPT. Then run the same command again"


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
        yield DisarmCorruptAlarm(member=repair.member, reason=why, rules=RULES)
    yield from steps[first:]


def _no_voter(name: str) -> Refused:
    return Refused(
        f"{name} is no voter of the cluster, so its data is not compared",
        hint="run `etcdup apply`, which adds the members of cluster.yaml",
        host=name,
        rules=RULES,
    )


def _refuse_now(name: str, member_id: int, observed: Observed) -> tuple[Refused, ...]:
    """Return the reasons that do not depend on the data."""
    if not member_id:
        return (_no_voter(name),)
    reasons = (_waiting_members(observed), _unhealthy_others(name, observed))
    return tuple(reason for reason in reasons if reason is not None)


def _waiting_members(observed: Observed) -> Refused | None:
    waiting = [each for each in member_list(observed) if each.is_learner or not each.name]
    if not waiting:
        return None
    hint = "run `etcdup apply` until all members are voters, then run the same command again"
    if is_corrupt(observed):
        # The alarm forbids `apply`. A learner has no vote, and a voter that never started has no data.
        hint = _removal_hint(*waiting)
    named = ", ".join(map(name_of, waiting))
    return Refused(
        f"{named} {'is not a voter' if len(waiting) == 1 else 'are not voters'} yet, and members join one after the "
        "other",
        hint=hint,
        host=name_of(waiting[0]),
        rules=(25, 28),
    )


def _unhealthy_others(name: str, observed: Observed) -> Refused | None:
    ill = [each for each in unhealthy(observed) if each != name]
    if not ill:
        return None
    left = len(healthy(observed).keys() - {name})
    # Without so many others, the data of the lost member is necessary to know which data is right.
    is_decided = left >= quorum_of(voter_count(observed) - 1)
    return Refused(
        f"{', '.join(ill)} {'is' if len(ill) == 1 else 'are'} not healthy, and {name} is only replaced while all "
        "others are",
        hint="run `etcdup status` to see why, and bring it back first"
        + (f". {if_lost(ill[0], name, observed)}" if is_decided else ""),
        host=ill[0],
        rules=(34,),
    )
