"""The status of a cluster, as data for `--json` and as a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import Paint, table_lines
from etcdup.core.members.limits import Limit, describe_followers, limits
from etcdup.core.members.member_list import host_of, member_list_differences
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.members.space import quota_of
from etcdup.core.observed.model import CertSeen, HostSeen, MemberSeen, Observed
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_duration, show_size
from etcdup.ops.world.health import why_unhealthy, why_without_vote

CERT_SOON_DAYS = 30


@dataclass(frozen=True)
class Status:
    """One cluster at one time. `members` has the order of cluster.yaml, followed by members that it does not name.

    `voters` is the number of voters in the member list. If no member reports a list, it is the size in cluster.yaml.
    `following` is the number of voters that follow a leader, and `followers` says so. `limits` are what etcd refuses
    although a quorum may follow a leader. `differences` are lines of text. `downgrade_to` is the target minor of a
    downgrade that is enabled.
    """

    cluster: str
    at: datetime
    members: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]
    voters: int
    following: int
    followers: str
    limits: tuple[Limit, ...] = ()
    differences: tuple[str, ...] = ()
    downgrade_to: str = ""
    backups: dict[str, Any] | None = None

    @property
    def healthy(self) -> int:
        # A renamed host is in the list under both names, with one member.
        return len({member["member_id"] for member in self.members if member["healthy"]})

    @property
    def can_lose(self) -> int:
        """Return how many more voters can fail before the quorum is lost. Below 0, it is lost."""
        return self.following - quorum_of(self.voters)

    @property
    def answers(self) -> bool:
        return any(member["role"] for member in self.members)


def status_of(spec: Spec, observed: Observed, backups: dict[str, Any] | None = None) -> Status:
    answering = observed.answering().values()
    alarms = {alarm for seen in answering for alarm in seen.alarms}
    names = (*(host.name for host in spec.hosts), *sorted(observed.leaving))
    return Status(
        cluster=spec.name,
        at=observed.at,
        members=tuple(_member(spec, observed, name) for name in names),
        alarms=tuple(sorted(alarms)),
        voters=voter_count(observed) or spec.size,
        following=len({seen.member_id for seen in healthy(observed).values()}),
        followers=describe_followers(spec, observed),
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
        "size": status.voters,
        "quorum": quorum_of(status.voters),
        "can_lose": max(status.can_lose, 0),
        "has_quorum": status.can_lose >= 0,
        "leader": next((member["name"] for member in status.members if member["role"] == "leader"), None),
        "alarms": list(status.alarms),
        "limits": limits_json(status.limits),
        "differences": list(status.differences),
        "downgrade_to": status.downgrade_to or None,
        "members": list(status.members),
        **({"backups": status.backups} if status.backups else {}),
    }


def limits_json(found: Sequence[Limit]) -> list[dict[str, str]]:
    return [{"kind": each.kind, "what": each.what, "why": each.why, "hint": each.hint} for each in found]


def render_status(status: Status, paint: Paint) -> str:
    """Return a heading, one row for each member, why a member is unhealthy, and the differences from cluster.yaml."""
    parts = [_heading(status, paint), ""]
    parts += _table([_HEADINGS, *(_row(member) for member in status.members)], status.members, paint)
    whys = [line for each in status.limits for line in _limit_lines(each, paint)]
    whys += [line for member in status.members for line in _why_lines(member, paint)]
    whys += [f"  {paint('yellow', '!')} {difference}" for difference in status.differences]
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
        "healthy": name in healthy(observed) and not why,
        "why": why or None,
        "limited": limited,
        "role": _role(seen) if isinstance(seen, MemberSeen) else None,
        "quota": quota_of(spec, observed, name),
        **(_answer_facts(seen) if isinstance(seen, MemberSeen) else dict.fromkeys(_ANSWER_KEYS)),
        "certificate": _certificate(observed, name),
    }


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
    healthy = (
        status.followers
        if status.limits
        else f"{status.healthy} of {count_text(status.voters, 'member')} healthy"
    )
    parts = [paint("bold", f"cluster {status.cluster}")]
    if status.can_lose < 0:
        what = "no quorum: no writes" if status.answers else "no member responds"
        parts += [paint("bold red", healthy), paint("bold red", what)]
    else:
        colour = "green" if status.following == status.voters else "yellow"
        parts += [paint(colour, healthy), f"can lose {status.can_lose}"]
    parts += [paint("bold red", each.what) for each in status.limits]
    if status.answers and not status.limits:
        parts.append(paint("dim", "no alarms"))
    if status.downgrade_to:
        parts.append(paint("yellow", f"downgrade to {status.downgrade_to} enabled"))
    return paint("dim", " · ").join(parts)


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


def _limit_lines(limit: Limit, paint: Paint) -> list[str]:
    return [
        f"  {paint('red', '✗')} {limit.what}: {limit.why}",
        f"    {paint('bold cyan', 'hint:')} {limit.hint}",
    ]


def _why_lines(member: dict[str, Any], paint: Paint) -> list[str]:
    lines = []
    if member["why"] and not member["limited"]:
        symbol = paint("yellow" if member["role"] else "red", "✗")
        lines.append(f"  {symbol} {member['name']}: {member['why']}")
    if not member["reachable"]:
        lines.append(
            f"  {paint('yellow', '!')} {member['name']} is not reachable: {member['unreachable_why']}"
        )
    return lines
