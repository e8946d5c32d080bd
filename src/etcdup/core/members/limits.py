"""What etcd refuses although a quorum follows a leader: writes during an alarm.

Neither costs a vote. Guards count followers of a leader, and verbs show these limits with the command that helps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import REPLACE_CORRUPT_HINT, healthy, voter_count
from etcdup.core.members.space import NOSPACE, fits_cluster_file, full_members
from etcdup.core.observed.model import MemberSeen, Observed
from etcdup.core.spec.model import Spec

CORRUPT = "CORRUPT"
FREE_SPACE_HINT = (
    "raise `quota` below `etcd` in cluster.yaml and run `etcdup apply`. Or delete keys, run `etcdup ctl -- endpoint "
    "status -w json` to see the revision, `etcdup ctl -- compaction REVISION`, and for one member after the other "
    "`etcdup ctl --endpoint MEMBER -- defrag --command-timeout=10m`. Then run `etcdup apply`, which disarms the alarm"
)


@dataclass(frozen=True)
class Limit:
    """What etcd refuses, why, and what the operator can do. `kind` is the name of the alarm."""

    kind: str
    what: str
    why: str
    hint: str


def limits(spec: Spec, observed: Observed) -> tuple[Limit, ...]:
    """Return each limit of the cluster once, the most severe first."""
    return tuple(_alarm_limit(kind, spec, observed) for kind in _alarm_kinds(observed))


def describe_followers(spec: Spec, observed: Observed) -> str:
    """Return `3 of 3 voters follow a leader`."""
    voters = voter_count(observed) or spec.size
    return f"{len(healthy(observed))} of {voters} voters follow a leader"


def limit_notes(spec: Spec, observed: Observed) -> tuple[str, ...]:
    """Return one line for each limit: how many voters follow a leader, what is refused, why, and what helps."""
    followers = describe_followers(spec, observed)
    return tuple(
        f"{followers}; {each.what}: {each.why}. To resolve it, {each.hint}" for each in limits(spec, observed)
    )


def member_limit(observed: Observed, seen: MemberSeen) -> str:
    """Return what etcd refuses through this member, or an empty text. The member has its vote in any case."""
    kinds = _alarm_kinds(observed)
    if CORRUPT in kinds and seen.member_id in _raised_by(CORRUPT, observed):
        return f"{CORRUPT}: its data differs from the data of the other members"
    return "; ".join(refused_writes(kind) for kind in kinds)


def _alarm_kinds(observed: Observed) -> tuple[str, ...]:
    """Return the kinds of the active alarms: `CORRUPT` before `NOSPACE`."""
    return tuple(sorted({_parse(alarm)[0] for alarm in _alarms(observed)}))


def _alarms(observed: Observed) -> Iterator[str]:
    for seen in observed.answering().values():
        yield from seen.alarms


def _parse(alarm: str) -> tuple[str, int]:
    """Return the kind and the member ID of an alarm of MemberSeen. The ID is 0 if the alarm has no member."""
    kind, _, member = alarm.partition(" on member ")
    return kind, int(member or "0", 16)


def _raised_by(kind: str, observed: Observed) -> set[int]:
    return {member for each, member in map(_parse, _alarms(observed)) if each == kind and member}


def _names(kind: str, observed: Observed) -> str:
    """Return the names of the members that raised this alarm; `a member` if etcd names none."""
    ids = _raised_by(kind, observed)
    names = {name_of(each) for each in member_list(observed) if each.member_id in ids}
    return ", ".join(sorted(names)) or "a member"


def refused_writes(kind: str) -> str:
    """Return the text for an alarm that makes etcd refuse writes."""
    return f"{kind}: writes are refused"


def _alarm_limit(kind: str, spec: Spec, observed: Observed) -> Limit:
    names = _names(kind, observed)
    if kind == CORRUPT:
        why = f"the data of {names} differs from the data of the other members"
        return Limit(kind, refused_writes(kind), why, REPLACE_CORRUPT_HINT)
    if kind == NOSPACE:
        full = ", ".join(full_members(spec, observed))
        why = (
            f"the database has no space on {full}"
            if full
            else f"{names} raised the alarm and has space again"
        )
        return Limit(kind, refused_writes(kind), why, _space_hint(spec, observed))
    return Limit(kind, refused_writes(kind), f"{names} raised the alarm", "run `etcdup ctl -- alarm list`")


def _space_hint(spec: Spec, observed: Observed) -> str:
    if fits_cluster_file(spec, observed):
        return "run `etcdup apply`: each database has space in the quota of cluster.yaml, so it disarms the alarm"
    return FREE_SPACE_HINT
