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
