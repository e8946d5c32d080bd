"""What `status` shows, as data for --json and as a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etcdup.cli.paint import Paint
from etcdup.core.observed import CertSeen, HostSeen, MemberSeen, Observed
from etcdup.core.quorum import quorum_of
from etcdup.core.spec import Spec
from etcdup.core.units import show_size
from etcdup.ops.health import against

CERT_SOON_DAYS = 30


@dataclass(frozen=True)
class Status:
    """One cluster at one moment. `members` are in cluster.yaml's order."""

    cluster: str
    at: datetime
    members: tuple[dict[str, Any], ...]
    alarms: tuple[str, ...]

    @property
    def healthy(self) -> int:
        return sum(member["healthy"] for member in self.members)

    @property
    def size(self) -> int:
        return len(self.members)

    @property
    def can_lose(self) -> int:
        """How many healthy members may still fail before writes stop; below 0 they have."""
        return self.healthy - quorum_of(self.size)


def status_of(spec: Spec, observed: Observed) -> Status:
    alarms = {alarm for seen in observed.answering().values() for alarm in seen.alarms}
    members = tuple(_member(spec, observed, host.name) for host in spec.hosts)
    return Status(spec.name, observed.at, members, tuple(sorted(alarms)))


def status_json(status: Status) -> dict[str, Any]:
    """A stable form: keys may join it, none changes its meaning within a `format`."""
    return {
        "format": 1,
        "cluster": status.cluster,
        "at": status.at.isoformat(timespec="seconds"),
        "healthy": status.healthy,
        "size": status.size,
        "quorum": quorum_of(status.size),
        "can_lose": max(status.can_lose, 0),
        "has_quorum": status.can_lose >= 0,
        "leader": next((member["name"] for member in status.members if member["role"] == "leader"), None),
        "alarms": list(status.alarms),
        "members": list(status.members),
    }


def render_status(status: Status, paint: Paint) -> str:
    """A heading, a row a member, and why those that are not well are not."""
    parts = [_heading(status, paint), ""]
    parts += _table([_HEADINGS, *(_row(member) for member in status.members)], status.members, paint)
    whys = [member for member in status.members if member["why"] or not member["reachable"]]
    if whys:
        parts.append("")
    for member in whys:
        parts += _why_lines(member, paint)
    return "\n".join(parts) + "\n"


def _member(spec: Spec, observed: Observed, name: str) -> dict[str, Any]:
    host, there, seen = spec.host(name), observed.hosts[name], observed.members[name]
    answers = isinstance(seen, MemberSeen)
    reached = isinstance(there, HostSeen)
    why = against(spec, observed, seen) if isinstance(seen, MemberSeen) else seen.why
    return {
        "name": name,
        "address": host.address,
        "url": spec.client_url(host),
        "reachable": reached,
        "unreachable_why": None if isinstance(there, HostSeen) else there.why,
        "unit": there.unit.active if isinstance(there, HostSeen) else None,
        "healthy": answers and not why,
        "why": why or None,
        "role": _role(seen) if isinstance(seen, MemberSeen) else None,
        "quota": spec.etcd.quota,
        **(_answered(seen) if isinstance(seen, MemberSeen) else dict.fromkeys(_ANSWERED)),
        "certificate": _certificate(observed, name),
    }


_ANSWERED = (
    "member_id", "cluster_id", "version", "db_size", "db_in_use", "raft_term", "raft_index", "applied_index"
)  # fmt: skip


def _answered(seen: MemberSeen) -> dict[str, Any]:
    values = (
        f"{seen.member_id:x}", f"{seen.cluster_id:x}", str(seen.version), seen.db_size, seen.db_in_use,
        seen.raft_term, seen.raft_index, seen.applied_index,
    )  # fmt: skip
    return dict(zip(_ANSWERED, values, strict=True))


def _role(seen: MemberSeen) -> str:
    if seen.is_learner:
        return "learner"
    return "leader" if seen.leader_id == seen.member_id else "follower"


def _certificate(observed: Observed, name: str) -> dict[str, Any] | None:
    """The certificate of this member that expires first."""
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
    healthy = f"{status.healthy} of {status.size} members healthy"
    parts = [paint("bold", f"cluster {status.cluster}")]
    if status.can_lose < 0:
        parts += [paint("bold red", healthy), paint("bold red", "no quorum: writes stand still")]
    else:
        colour = "green" if status.healthy == status.size else "yellow"
        parts += [paint(colour, healthy), f"can lose {status.can_lose}"]
    alarms = ", ".join(status.alarms)
    parts.append(paint("bold red", f"alarm: {alarms}") if alarms else paint("dim", "no alarms"))
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
        _shown_days(certificate["days_left"]) if certificate else "-",
        member["unit"] or "unknown",
        member["address"],
    )


def _shown_days(days: int) -> str:
    if days < 0:
        return "expired"
    return f"{days} day{'' if days == 1 else 's'} left"


def _table(rows: Sequence[tuple[str, ...]], members: Sequence[dict[str, Any]], paint: Paint) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    heading, *body = lines
    return [
        paint("dim", heading.rstrip()),
        *(
            _painted_row(line, row, member, paint)
            for line, row, member in zip(body, rows[1:], members, strict=True)
        ),
    ]


def _painted_row(line: str, row: tuple[str, ...], member: dict[str, Any], paint: Paint) -> str:
    line = line.rstrip()
    if member["role"] is None:
        return paint("red", line)
    if not member["healthy"]:
        return paint("yellow", line)
    certificate = member["certificate"]
    if certificate and certificate["days_left"] < CERT_SOON_DAYS:
        line = line.replace(row[6], paint("yellow", row[6]), 1)
    return line.replace(" leader ", paint("bold", " leader "), 1)


def _why_lines(member: dict[str, Any], paint: Paint) -> list[str]:
    lines = []
    if member["why"]:
        mark = paint("yellow" if member["role"] else "red", "✗")
        lines.append(f"  {mark} {member['name']}: {member['why']}")
    if not member["reachable"]:
        lines.append(
            f"  {paint('yellow', '!')} {member['name']} cannot be reached: {member['unreachable_why']}"
        )
    return lines
