"""What the hashes of the members say about the data of one of them (rules 81, 82).

The hash of a member at a revision depends only on its data and on its compaction. So two hashes of the same revision
and compaction that differ prove that the data differs.
"""

from dataclasses import dataclass

from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import repair_hint
from etcdup.core.members.limits import is_corrupt, is_named_corrupt
from etcdup.core.members.member_list import member_list, name_of, voter_names
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused

RULES = (81, 82)
_AGAIN = "run `etcdup maintain verify` to see each hash, then run the same command again"


@dataclass(frozen=True)
class Evidence:
    """The hashes of the members, and how the log of the member says that its data is damaged; empty if it does not."""

    hashes: tuple[MemberHash, ...]
    damage: str = ""


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
        return (Refused(what, hint=_AGAIN, host=unread[0], rules=RULES),)
    if len({known[each].compacted for each in others}) > 1:
        what = "the members were compacted at different revisions, so their data could not be compared"
        return (Refused(what, hint=_AGAIN, rules=RULES),)
    if right:
        odd = [each for each in voter_names(observed) if each not in right]
        first = next(each for each in odd if each != name)
        what = f"a new member could copy the data of {first}, which differs from that of {', '.join(right)}"
        return (Refused(what, hint=repair_hint(right, odd), host=first, rules=RULES),)
    what = f"no majority of the members has the same data: {_groups(hashes)}"
    return (Refused(what, hint=repair_hint((), ()), rules=RULES),)


def _groups(hashes: tuple[MemberHash, ...]) -> str:
    return ", ".join(f"{each.member} has {each.value:08x}" for each in hashes if not each.why)


def fault_of(name: str, observed: Observed, evidence: Evidence) -> str | Refused:
    """Return what is wrong with the data of a member, while all others have the same data.

    Only its hash says that about a healthy member: another member may have raised the alarm without a reason.
    """
    right = same_data(observed, evidence.hashes)
    if name in healthy(observed):
        return _difference(name, evidence.hashes, right)
    source = ", ".join(right)
    if evidence.damage:
        return f"{evidence.damage}, and {source} have the same data"
    if is_named_corrupt(name, observed) and name in observed.reachable():
        return f"it does not serve, the CORRUPT alarm names it, and {source} have the same data"
    return Refused(
        f"{name} is not healthy, and its log does not say that its data is damaged",
        hint=f"run `etcdup status` to see why. {if_lost(name, right[0], observed)}",
        host=name,
        rules=RULES,
    )


def _difference(name: str, hashes: tuple[MemberHash, ...], right: tuple[str, ...]) -> str | Refused:
    """Return how the hash of a healthy member differs, or why it could not be compared."""
    own = next((each for each in hashes if each.member == name), None)
    basis = next(each for each in hashes if each.member == right[0])
    source, why = ", ".join(right), ""
    if own is None or own.why:
        why = own.why if own else "it does not answer"
    elif (own.compacted, own.revision) != (basis.compacted, basis.revision):
        why = f"it was compacted at {own.compacted}, that of {source} at {basis.compacted}"
    if own is None or why:
        what = f"the data of {name} could not be compared: {why}"
        return Refused(what, hint=_AGAIN, host=name, rules=RULES)
    what = f"its data differs at revision {own.revision}: its hash is {own.value:08x}"
    return f"{what}, that of {source} is {basis.value:08x}"


def if_lost(name: str, then: str, observed: Observed) -> str:
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
