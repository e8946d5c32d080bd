"""What etcd refuses although a quorum follows a leader: writes during an alarm, requests of a client that is no user.

Neither costs a vote. Guards count followers of a leader, and verbs show these limits with the command that helps.
"""

from dataclasses import dataclass

from etcdup.core.etcd.alarms import CORRUPT, NOSPACE
from etcdup.core.etcd.login_errors import NO_PASSWORD, NOT_ACCEPTED
from etcdup.core.host.settings import CLIENT_AUTH_VARIABLE
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import CORRUPT_HINT, healthy
from etcdup.core.members.space import fits_cluster_file, full_members
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.model import Spec

AUTH = "AUTH"
_NO_USER = "with `client_auth: optional` etcd takes no user from a certificate"
_LOG_IN = (
    "add `access: {user: USER, password_command: COMMAND}` below `etcd`: etcdup then logs in with a password"
)
_CORRECT = "correct `etcd.access` in cluster.yaml"
_TEST_COMMAND = "Run its `password_command` in your shell: the first line that it prints must be the password"
# etcd enables authentication only if this user exists and has the role root.
SUPERUSER = "root"
FREE_SPACE_HINT = (
    "run `etcdup maintain fix-space`: it frees space without deleting a key and disarms the alarm, or says which "
    "`quota` helps"
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
    denied = (_access_limit(spec, observed),) if observed.denied else ()
    return (*denied, *(_alarm_limit(kind, spec, observed) for kind in _alarm_kinds(observed)))


def member_limit(observed: Observed, seen: MemberSeen) -> str:
    """Return what etcd refuses through this member, or an empty text. The member has its vote in any case."""
    if observed.denied:
        return refused_access(observed.denied)
    kinds = _alarm_kinds(observed)
    if CORRUPT in kinds and seen.member_id in _raised_by(CORRUPT, observed):
        return f"{refused_writes(CORRUPT)}, and etcd names this member"
    return "; ".join(refused_writes(kind) for kind in kinds)


def _alarm_kinds(observed: Observed) -> tuple[str, ...]:
    """Return the kinds of the active alarms: `CORRUPT` before `NOSPACE`."""
    return tuple(sorted({kind for kind, _ in active_alarms(observed)}))


def active_alarms(observed: Observed) -> set[tuple[str, int]]:
    """Return the kind and the member ID of each active alarm. The ID is 0 if the alarm has no member."""
    return {_parse(alarm) for seen in observed.answering().values() for alarm in seen.alarms}


def _parse(alarm: str) -> tuple[str, int]:
    kind, _, member = alarm.partition(" on member ")
    return kind, int(member or "0", 16)


def _raised_by(kind: str, observed: Observed) -> set[int]:
    return {member for each, member in active_alarms(observed) if each == kind and member}


def _names(kind: str, observed: Observed) -> str:
    """Return the names of the members that raised this alarm; `a member` if etcd names none."""
    return ", ".join(_named_by(kind, observed)) or "a member"


def _named_by(kind: str, observed: Observed) -> tuple[str, ...]:
    """Return the members of the member list that an alarm of this kind names."""
    ids = _raised_by(kind, observed)
    return tuple(sorted({name_of(each) for each in member_list(observed) if each.member_id in ids}))


def refuse_without_access(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse every change if etcd refuses it to etcdup: auth is enabled, and etcdup is no user with the role root.

    Otherwise a verb would change hosts, and then stop at its first request to etcd.
    """
    if not observed.denied:
        return ()
    limit = _access_limit(spec, observed)
    return (Refused(f"{limit.what}: {limit.why}", hint=limit.hint, rules=(118,)),)


def refuse_users_without_certificates(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse `client_auth: optional` while the users of etcd are enabled: etcdup would lose its rights in etcd."""
    if spec.tls.client_auth == "required" or not observed.auth or spec.etcd.access is not None:
        return ()
    return (
        Refused(
            f"authentication (auth) is enabled, and {_NO_USER}: etcd would refuse etcdup",
            hint=f"remove `client_auth` below `tls` in cluster.yaml. Or {_LOG_IN}",
            rules=(118,),
        ),
    )


def is_corrupt(observed: Observed) -> bool:
    """Return whether a CORRUPT alarm is active."""
    return CORRUPT in _alarm_kinds(observed)


def is_named_corrupt(name: str, observed: Observed) -> bool:
    """Return whether a CORRUPT alarm names this member."""
    return name in _named_by(CORRUPT, observed)


def refuse_disarm_corrupt(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow to disarm CORRUPT unless it names another member whose data cannot be compared now.

    The step itself compares the data before. So an alarm that names a member with the right data is disarmed too:
    while the leader has the wrong data, etcd before 3.4.23 and 3.5.7 names a follower.
    """
    return tuple(
        Refused(
            f"the CORRUPT alarm names {other}, which is not healthy, so its data cannot be compared",
            hint=f"run `etcdup status` to see why, and bring {other} back. Or run `etcdup maintain repair {other}`, if "
            "its data is damaged",
            host=other,
            rules=(82,),
        )
        for other in _named_by(CORRUPT, observed)
        if other not in (name, *healthy(observed))
    )


def refused_access(why: str) -> str:
    """Return the text for an etcd whose users exclude etcdup. `why` has the words of etcd."""
    return f"etcd refuses etcdup: {why.removeprefix('etcdserver: ').removeprefix('auth: ')}"


def _access_limit(spec: Spec, observed: Observed) -> Limit:
    """Return what the operator does about it. The role root is granted by a user with this role, with its password."""
    what = "etcd refuses etcdup, because authentication (auth) is enabled"
    if spec.etcd.access is not None:
        return Limit(AUTH, what, *_why_no_login(spec.etcd.access.user, observed.denied))
    admin = observed.pki.certs.get("admin")
    name = admin.common_name if admin else "NAME"
    if any(
        seen.unit.environment.get(CLIENT_AUTH_VARIABLE) == "false" for seen in observed.reachable().values()
    ):
        off = f"`etcdup ctl -- --user {SUPERUSER} auth disable`"
        hint = f"{_LOG_IN}. Or run {off}: each client that reaches a member can then read and write all keys"
        return Limit(AUTH, what, _NO_USER, hint)
    if not name:
        hint = (
            f"name a client certificate in `tls` of cluster.yaml whose common name is a user with the role root. Or "
            f"{_LOG_IN}"
        )
        return Limit(AUTH, what, "the client certificate of etcdup has no common name", hint)
    if "not found" in observed.denied:
        why = f"the client certificate of etcdup has the common name `{name}`, and etcd has no user `{name}`"
        granted = _as_administrator(name, f"user add {name} --no-password", _grant(name))
        return Limit(AUTH, what, why, f"{granted}. Or {_LOG_IN}")
    why = f"the user `{name}`, which the client certificate of etcdup has, has no role root"
    return Limit(AUTH, what, why, f"{_as_administrator(name, _grant(name))}. Or {_LOG_IN}")


def _why_no_login(user: str, denied: str) -> tuple[str, str]:
    """Return why the user of `etcd.access` does not work, and what helps."""
    if denied.startswith(NO_PASSWORD):
        why = denied.removeprefix(NO_PASSWORD)
        return f"there is no password for the user `{user}`: {why}", f"{_CORRECT}. {_TEST_COMMAND}"
    if NOT_ACCEPTED in denied:
        why = f"etcd does not accept the user `{user}` of `etcd.access` with its password"
        return why, f"{_CORRECT}. {_TEST_COMMAND}"
    why = f"the user `{user}` of `etcd.access` has no role root"
    return why, f"{_as_administrator(user, _grant(user))}. Or set another user in `etcd.access`"


def _grant(name: str) -> str:
    return f"user grant-role {name} root"


def _as_administrator(name: str, *commands: str) -> str:
    """Return the commands as a user that has the role root. It is another one than the user of etcdup."""
    if name == SUPERUSER:
        done = " and ".join(f"`{each}`" for each in commands)
        return f"ask an administrator of these users to run {done} with etcdctl, as another user with the role root"
    done = " and ".join(f"`etcdup ctl -- --user {SUPERUSER} {each}`" for each in commands)
    return f"run {done}. etcdctl asks for the password of the user {SUPERUSER}"


def refused_writes(kind: str) -> str:
    """Return the text for an alarm that makes etcd refuse writes."""
    return f"{kind}: writes are refused"


def _alarm_limit(kind: str, spec: Spec, observed: Observed) -> Limit:
    names = _names(kind, observed)
    if kind == CORRUPT:
        named = bool(_raised_by(kind, observed))
        which = f"etcd names {names}, but another member can be wrong" if named else "etcd names no member"
        return Limit(kind, refused_writes(kind), f"the data of the members differs. {which}", CORRUPT_HINT)
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
