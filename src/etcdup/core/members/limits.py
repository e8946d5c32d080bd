"""What etcd refuses although a quorum follows a leader: writes during an alarm, requests of a client that is no user.

Neither costs a vote. Guards count followers of a leader, and verbs show these limits with the command that helps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import REPLACE_CORRUPT_HINT, healthy, voter_count
from etcdup.core.members.space import NOSPACE, fits_cluster_file, full_members
from etcdup.core.observed.model import MemberSeen, Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

CORRUPT = "CORRUPT"
AUTH = "AUTH"
FREE_SPACE_HINT = (
    "raise `quota` below `etcd` in cluster.yaml and run `etcdup apply`. Or delete keys, run `etcdup ctl -- endpoint "
    "status -w json` to see the revision, `etcdup ctl -- compaction REVISION`, and for one member after the other "
    "`etcdup ctl --endpoint MEMBER -- defrag --command-timeout=10m`. Then run `etcdup apply`, which disarms the alarm"
)


@dataclass(frozen=True)
class Limit:
    """What etcd refuses, why, and what the operator can do. `kind` is the name of the alarm, or `AUTH`."""

    kind: str
    what: str
    why: str
    hint: str


def limits(spec: Spec, observed: Observed) -> tuple[Limit, ...]:
    """Return each limit of the cluster once, the most severe first."""
    denied = (_access_limit(observed),) if observed.denied else ()
    return (*denied, *(_alarm_limit(kind, spec, observed) for kind in _alarm_kinds(observed)))


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
    if observed.denied:
        return refused_access(observed.denied)
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


def refuse_without_access(observed: Observed) -> tuple[Refused, ...]:
    """Refuse every change if etcd refuses it to etcdup: its users are enabled, and etcdup is none with the role root.

    Otherwise a verb would change hosts, and then stop at its first request to etcd.
    """
    if not observed.denied:
        return ()
    limit = _access_limit(observed)
    return (Refused(f"{limit.what}: {limit.why}", hint=limit.hint, rules=(118,)),)


def refused_access(why: str) -> str:
    """Return the text for users of etcd that exclude etcdup. `why` has the words of etcd."""
    return f"etcd refuses etcdup: {why.removeprefix('etcdserver: ').removeprefix('auth: ')}"


def _access_limit(observed: Observed) -> Limit:
    """Return what the operator does about it. The role root is granted by the user root, with its password."""
    admin = observed.pki.certs.get("admin")
    name, as_root = (admin.common_name if admin else "NAME"), "etcdup ctl -- --user root"
    grant = f"`{as_root} user grant-role {name} root`"
    off = f"Or disable the users of etcd with `{as_root} auth disable`. etcdctl asks for the password of root"
    what = "etcd refuses etcdup, because the users of etcd are enabled"
    if not name:
        hint = f"name a client certificate in `tls` of cluster.yaml that has a common name. {off}"
        return Limit(AUTH, what, "the client certificate of etcdup has no common name", hint)
    if "not found" in observed.denied:
        hint = f"run `{as_root} user add {name} --no-password` and {grant}. {off}"
        return Limit(
            AUTH, what, f"the client certificate of etcdup is for `{name}`, which is no user of etcd", hint
        )
    return Limit(AUTH, what, f"the user `{name}` of etcdup has no role root", f"run {grant}. {off}")


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
