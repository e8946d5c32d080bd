"""The status of a cluster, as data for `--json` and as a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint, table_lines
from etcdup.cli.views.verdict_view import cause_lines, causes_json
from etcdup.core.etcd.alarms import CORRUPT
from etcdup.core.members.limits import Limit, limits
from etcdup.core.members.member_list import host_of, member_list_differences
from etcdup.core.members.quorum import healthy, quorum_of
from etcdup.core.members.space import quota_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_duration, show_size
from etcdup.core.verdict.quorum_state import QuorumState
from etcdup.core.verdict.verdict import Verdict, judge
from etcdup.ops.world.health import why_unhealthy, why_without_vote

CERT_SOON_DAYS = 30


@dataclass(frozen=True)
class Status:
    """One cluster at one time. `members` has the order of cluster.yaml, followed by members that it does not name.

    `limits` are what etcd refuses although a quorum may follow a leader. `differences` are lines of text.
    `downgrade_to` is the target minor of a downgrade that is enabled.
    """

    cluster: str
    at: datetime
    members: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]
    verdict: Verdict
    limits: tuple[Limit, ...] = ()
    differences: tuple[str, ...] = ()
    downgrade_to: str = ""
    backups: dict[str, Any] | None = None

    @property
    def healthy(self) -> int:
        # A renamed host is in the list under both names, with one member.
        return len({member["member_id"] for member in self.members if member["healthy"]})

    @property
    def quorum(self) -> QuorumState:
        return self.verdict.quorum

    @property
    def is_healthy(self) -> bool:
        """Return whether each voter is healthy and nothing is wrong."""
        return self.healthy == self.quorum.voters and not self.verdict.wrong


def status_of(spec: Spec, observed: Observed, backups: dict[str, Any] | None = None) -> Status:
    answering = observed.answering().values()
    alarms = {alarm for seen in answering for alarm in seen.alarms}
    names = (*(host.name for host in spec.hosts), *sorted(observed.leaving))
    return Status(
        cluster=spec.name,
        at=observed.at,
        members=tuple(_member(spec, observed, name) for name in names),
        alarms=tuple(sorted(alarms)),
        verdict=judge(spec, observed),
        limits=limits(spec, observed),
        differences=member_list_differences(spec, observed),
        downgrade_to=max((seen.downgrade_to for seen in answering), default="").rpartition(".")[0],
        backups=backups,
    )


def status_json(status: Status) -> dict[str, Any]:
    """Return the status as data. Within one `format`, keys may be added, but no key changes its meaning."""
    return {
        "format": 1,
        "cluster": status.cluster,
        "at": status.at.isoformat(timespec="seconds"),
        "healthy": status.healthy,
        "size": status.quorum.voters,
        "quorum": quorum_of(status.quorum.voters),
        "can_lose": max(status.quorum.can_lose, 0),
        "has_quorum": status.quorum.is_observed,
        "quorum_known": status.verdict.is_known,
        "leader": next((member["name"] for member in status.members if member["role"] == "leader"), None),
        "alarms": list(status.alarms),
        "limits": limits_json(status.limits),
        "differences": list(status.differences),
        "causes": causes_json(status.verdict.causes),
        "downgrade_to": status.downgrade_to or None,
        "members": list(status.members),
        **({"backups": status.backups} if status.backups else {}),
    }


def limits_json(found: Sequence[Limit]) -> list[dict[str, str]]:
    return [{"kind": each.kind, "what": each.what, "why": each.why, "hint": each.hint} for each in found]


def render_status(status: Status, paint: Paint, width: int = 100) -> str:
    """Return a heading, one row for each member, the causes of the verdict, and the backups."""
    parts = [_heading(status, paint), ""]
    parts += _table([_HEADINGS, *(_row(member) for member in status.members)], status.members, paint)
    whys = cause_lines(status.verdict.causes, paint, width)
    for member in status.members:
        if member["why"] and not member["limited"] and member["name"] not in status.verdict.explained:
            symbol = paint("yellow" if member["role"] else "red", "✗")
            whys.append(f"  {symbol} {member['name']}: {member['why']}")
    backups = ["", f"  {_backups(status.backups, status.at)}"] if status.backups else []
    return "\n".join([*parts, *(["", *whys] if whys else []), *backups]) + "\n"


def _backups(facts: dict[str, Any], now: datetime) -> str:
    if facts["why"] and facts["last"] is None:
        return f"last backup: unknown, {facts['why']}"
    words = []
    for what, each in (("last backup", facts["last"]), ("last proved", facts["last_proved"])):
        age = each and max((now - datetime.fromisoformat(each["taken_at"])).total_seconds(), 0)
        words.append(f"{what}: {each['name']}, {show_duration(age)} old" if each else f"{what}: none")
    words += [f"the last backup is not in {place}" for place in facts["lacking"]]
    return " · ".join([*words, *filter(None, [facts["why"]])])


def _member(spec: Spec, observed: Observed, name: str) -> dict[str, Any]:
    host, there, seen = host_of(spec, observed, name), observed.hosts[name], observed.members[name]
    reached = isinstance(there, HostSeen)
    why = why_unhealthy(observed, seen) if isinstance(seen, MemberSeen) else seen.why
    limited = isinstance(seen, MemberSeen) and bool(why) and not why_without_vote(observed, seen)
    return {
        "name": name,
        "address": host.address,
        "url": spec.client_url(host),
        "in_file": name not in observed.leaving,
        "reachable": reached,
        "unreachable_why": None if isinstance(there, HostSeen) else there.why,
        "unit": there.unit.active if isinstance(there, HostSeen) else None,
        "healthy": _has_vote(observed, seen) and not why,
        "why": why or None,
        "limited": limited,
        "role": _role(seen) if isinstance(seen, MemberSeen) else None,
        "quota": quota_of(spec, observed, name),
        **(_answer_facts(seen) if isinstance(seen, MemberSeen) else dict.fromkeys(_ANSWER_KEYS)),
        "certificate": _certificate(observed, name),
    }


def _has_vote(observed: Observed, seen: MemberSeen | MemberSilent) -> bool:
    """Return whether the member is a healthy voter. A renamed host has its member under both names."""
    voting = {each.member_id for each in healthy(observed).values()}
    return isinstance(seen, MemberSeen) and seen.member_id in voting


_ANSWER_KEYS = (
    "member_id", "cluster_id", "version", "db_size", "db_in_use", "raft_term", "raft_index", "applied_index"
)  # fmt: skip


def _answer_facts(seen: MemberSeen) -> dict[str, Any]:
    values = (
        f"{seen.member_id:x}", f"{seen.cluster_id:x}", str(seen.version), seen.db_size, seen.db_in_use,
        seen.raft_term, seen.raft_index, seen.applied_index,
    )  # fmt: skip
    return dict(zip(_ANSWER_KEYS, values, strict=True))


def _role(seen: MemberSeen) -> str:
    if seen.is_learner:
        return "learner"
    return "leader" if seen.leader_id == seen.member_id else "follower"


def _certificate(observed: Observed, name: str) -> dict[str, Any] | None:
    """Return the certificate of this member that expires first."""
    own = [
        (cert.not_after, role, cert)
        for role, cert in observed.pki.certs.items()
        if role.endswith(f"/{name}") and not role.startswith("client/")
    ]
    if not own:
        return None
    expires, role, cert = min(own, key=lambda each: each[:2])
    return {"role": role, "expires_at": expires.isoformat(), "days_left": _days(cert, observed.at)}


def _days(cert: CertSeen, now: datetime) -> int:
    return (cert.not_after - now).days


def _heading(status: Status, paint: Paint) -> str:
    parts = [paint("bold", f"cluster {status.cluster}"), *_quorum_parts(status, paint)]
    parts += [paint("bold red", each.what) for each in status.limits]
    # Without a quorum, a member does not know of new alarms.
    if status.quorum.is_observed and not status.limits:
        parts.append(paint("dim", "no alarms"))
    if status.downgrade_to:
        parts.append(paint("yellow", f"downgrade to {status.downgrade_to} enabled"))
    return paint("dim", " · ").join(parts)


def _quorum_parts(status: Status, paint: Paint) -> list[str]:
    """Return how many members are healthy, and what that means for the quorum."""
    quorum, verdict = status.quorum, status.verdict
    if verdict.is_fresh and not quorum.answers:
        return [paint("yellow", "not formed yet")]
    if not verdict.is_known:
        return [paint("bold red", _unknown_text(quorum))]
    members = f"{status.healthy} of {count_text(quorum.voters, 'member')} healthy"
    healthy = quorum.followers if status.limits else members
    if quorum.is_lost:
        what = "no quorum: no writes" if quorum.answers else "no member responds"
        return [paint("bold red", healthy), paint("bold red", what)]
    colour = "green" if quorum.following == quorum.voters else "yellow"
    # With wrong data in one of the copies, the number of members is not the number of good copies.
    corrupt = any(each.kind == CORRUPT for each in status.limits)
    return [paint(colour, healthy), f"can lose {'unknown' if corrupt else quorum.can_lose}"]


def _unknown_text(quorum: QuorumState) -> str:
    if quorum.is_unknown and len(quorum.unseen) < quorum.voters:
        return f"quorum unknown: {len(quorum.unseen)} of {quorum.voters} voters cannot be reached"
    return "health unknown: etcdup cannot connect to a member"


_HEADINGS = ("MEMBER", "ROLE", "VERSION", "DATABASE", "TERM", "INDEX", "CERTIFICATES", "ETCD", "ADDRESS")


def _row(member: dict[str, Any]) -> tuple[str, ...]:
    certificate = member["certificate"]
    answered = member["role"] is not None
    size = f"{show_size(member['db_size'])} of {show_size(member['quota'])}" if answered else "-"
    return (
        member["name"],
        member["role"] or "-",
        member["version"] or "-",
        size.replace(".0 ", " "),
        str(member["raft_term"]) if answered else "-",
        str(member["raft_index"]) if answered else "-",
        _days_text(certificate["days_left"]) if certificate else "-",
        member["unit"] or "unknown",
        member["address"] + ("" if member["in_file"] else " (leaving)"),
    )


def _days_text(days: int) -> str:
    if days < 0:
        return "expired"
    return f"{days} day{'' if days == 1 else 's'} left"


def _table(rows: Sequence[tuple[str, ...]], members: Sequence[dict[str, Any]], paint: Paint) -> list[str]:
    heading, *body = table_lines(rows)
    return [
        paint("dim", heading),
        *(
            _painted_row(line, row, member, paint)
            for line, row, member in zip(body, rows[1:], members, strict=True)
        ),
    ]


def _painted_row(line: str, row: tuple[str, ...], member: dict[str, Any], paint: Paint) -> str:
    if member["role"] is None:
        return paint("red", line)
    if not member["healthy"]:
        return paint("yellow", line)
    certificate = member["certificate"]
    if certificate and certificate["days_left"] < CERT_SOON_DAYS:
        line = line.replace(row[6], paint("yellow", row[6]), 1)
    return line.replace(" leader ", paint("bold", " leader "), 1)
