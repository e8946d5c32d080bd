"""The guards about the data of the members, before an adoption and before a take-over.

A member that etcdup starts compares its data with the other members. So a member with other data would not start after
its take-over. Until then, only the tool that made a member can replace it.
"""

from collections.abc import Iterator, Sequence

from etcdup.core.audit.findings import MemberHash
from etcdup.core.audit.hashes import by_compaction, compaction_text, differing_groups, outcome_of
from etcdup.core.etcd.alarms import CORRUPT, NOSPACE
from etcdup.core.members.quorum import quorum_of
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.visible import one_line

_REPLACE = (
    "2. remove the member that differs with `etcdctl member remove ID`. Then add it again with the tool that made it, "
    "and with an empty data directory"
)
_DIFFERENT = (
    "1. trust the data of a majority. Save it with `etcdctl snapshot save good.db`, from a member of this majority\n"
    f"{_REPLACE}\n"
    "3. run the same command again: it compares the data again"
)
_NO_MAJORITY = (
    "no majority has the same data, so remove no member. Save a snapshot of each member with `etcdctl snapshot save`. "
    "Find out which one has the right data, and restore it on other hosts with `etcdup restore FILE`"
)
_ALARM_HINTS = {
    CORRUPT: (
        "1. compare the data with `etcdctl endpoint hashkv --cluster`. Trust the data of a majority, and save it with "
        "`etcdctl snapshot save good.db`, from a member of this majority\n"
        f"{_REPLACE}\n"
        "3. run `etcdctl alarm disarm`, then run the same command again"
    ),
    NOSPACE: (
        "run `etcdctl compaction REVISION`, then `etcdctl defrag` on each member, and `etcdctl alarm disarm`. Then run "
        "the same command again"
    ),
}
_OTHER_ALARM = "remove its cause and run `etcdctl alarm disarm`, then run the same command again"


def refuse_different_data(hashes: Sequence[MemberHash]) -> tuple[Refused, ...]:
    """Allow a change only if the hashes prove that the data of all members is the same."""
    outcome = outcome_of(hashes)
    if outcome == "different":
        groups = "; ".join(differing_groups(hashes))
        return (
            Refused(
                f"the members have different data at the same revision: {groups}",
                _DIFFERENT if _has_majority(hashes) else _NO_MAJORITY,
                rules=(80, 81),
            ),
        )
    if outcome == "not compared":
        message = f"the data of the members was not compared: {'; '.join(_why_not_compared(hashes))}"
        hint = "run the same command again. A compaction or a member behind the leader is often the cause"
        return (Refused(message, hint, rules=(81,)),)
    return ()


def _has_majority(hashes: Sequence[MemberHash]) -> bool:
    """Return whether a majority of the members have the same data."""
    groups = (names for values in by_compaction(hashes).values() for names in values.values())
    return max(map(len, groups), default=0) >= quorum_of(len(hashes))


def _why_not_compared(hashes: Sequence[MemberHash]) -> Iterator[str]:
    for each in hashes:
        why = f"no hash: {one_line(each.why, 300)}" if each.why else compaction_text(each)
        yield f"{each.member}: {why}"


def refuse_alarms(alarms: Sequence[str]) -> Iterator[Refused]:
    """Refuse an adoption during an alarm: etcdup would begin with a fault that it did not make."""
    for alarm in sorted(set(alarms)):
        kind = alarm.partition(" ")[0]
        means = ": the data of the members differs, and the alarm does not prove which one is wrong"
        message = f"the alarm {one_line(alarm, 100)} is raised{means if kind == CORRUPT else ''}"
        yield Refused(message, _ALARM_HINTS.get(kind, _OTHER_ALARM), rules=(82,) if kind == CORRUPT else ())
