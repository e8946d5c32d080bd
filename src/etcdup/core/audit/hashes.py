"""Whether the data of the members is the same, by their hashes. Other compactions give other hashes (rule 81)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from etcdup.core.audit.findings import MemberHash

Outcome = Literal["same", "different", "not compared"]


def is_comparable(hashes: Sequence[MemberHash]) -> bool:
    """Return whether all hashes were read and all members were compacted at the same revision (rule 81)."""
    return not any(each.why for each in hashes) and len({each.compacted for each in hashes}) < 2


def by_compaction(hashes: Sequence[MemberHash]) -> Mapping[int, Mapping[int, Sequence[str]]]:
    """Return the members by hash, for each revision of a compaction."""
    found: dict[int, dict[int, list[str]]] = {}
    for each in hashes:
        if not each.why:
            found.setdefault(each.compacted, {}).setdefault(each.value, []).append(each.member)
    return found


def compaction_text(each: MemberHash) -> str:
    """Return at which revision the member was compacted. etcd reports 0 or -1 before the first compaction."""
    return f"compacted at {each.compacted}" if each.compacted > 0 else "not yet compacted"


def outcome_of(hashes: Sequence[MemberHash]) -> Outcome:
    """Return whether the data is the same. Two hashes of one compaction that differ are enough for `different`."""
    if differing_groups(hashes):
        return "different"
    return "same" if is_comparable(hashes) else "not compared"


def differing_groups(hashes: Sequence[MemberHash]) -> tuple[str, ...]:
    """Return the members with equal data as one text for each data, if the data differs at one compaction."""
    for values in by_compaction(hashes).values():
        if len(values) > 1:
            return tuple(", ".join(names) for names in values.values())
    return ()


def repair_hint(right: Sequence[str], odd: Sequence[str]) -> str:
    """Return what helps if the data differs. `right` are the members of a majority with the same data, if there is one.

    Only one member that differs from a majority is replaced: a new member could copy the data of the other ones.
    """
    if not right:
        return (
            "restore a backup from before the fault: run `etcdup backup list`, then `etcdup restore BACKUP`"
        )
    if len(odd) == 1:
        return (
            f"run `etcdup maintain repair {odd[0]}`: it compares the data again, saves that of the majority, and "
            "replaces the member"
        )
    return (
        f"restore the data of {right[0]}, which a majority has: run `etcdup ctl --endpoint {right[0]} -- snapshot save "
        "good.db`, then `etcdup backup compact good.db --without-alarms --out right.db`, then `etcdup restore right.db`"
    )
