"""Every certificate of a cluster, and every place where it was seen: what is the same, what differs, what ends soon."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from etcdup.core.observed.model import CertSeen
from etcdup.core.spec.model import Spec

# For a CA, and for certificates that somebody else renews (rule 17).
ENDS_SOON = timedelta(days=30)
CA_ROLES = ("ca", "peer-ca")
# Kinds of roles of consumers' certificates that should have no user any more. etcd takes them all the same.
ARCHIVED_KINDS = ("forgotten", "replaced")

InspectionKind = Literal["operator", "host", "served"]
LinkPort = Literal["client", "peer"]


@dataclass(frozen=True)
class CertFacts:
    """A certificate's public facts; subject and issuer as RFC 4514 writes names, the serial number in hex."""

    cert: CertSeen
    subject: str
    issuer: str
    serial: str


@dataclass(frozen=True)
class CertInspection:
    """One look at one place. Roles are named as in PkiSeen, the CA files `ca` and `peer-ca`.

    `port` is 0 unless it was served; `facts` is None where nothing was seen, and `why` says why.
    An empty role stands for all that is on a host.
    """

    role: str
    kind: InspectionKind
    host: str = ""
    port: int = 0
    facts: CertFacts | None = None
    why: str = ""

    @property
    def location(self) -> str:
        if self.kind == "operator":
            return "here"
        return f"on {self.host}" if self.kind == "host" else f"served on {self.host}:{self.port}"


@dataclass(frozen=True)
class Link:
    """Whether a member's host got an answer from another member's port, both sides checked by TLS."""

    source: str
    target: str
    why: str = ""
    port: LinkPort = "client"

    @property
    def problem(self) -> str:
        """What is wrong with it, for people."""
        return f"{self.source} does not reach {self.target}'s {self.port} port by TLS: {self.why}"


@dataclass(frozen=True)
class CertRow:
    """One certificate: all roles that it serves, and all places where it was seen."""

    roles: tuple[str, ...]
    facts: CertFacts
    locations: tuple[str, ...]
    used_by: tuple[str, ...]
    days_left: int
    ends_soon: bool
    in_use: bool

    @property
    def is_archived(self) -> bool:
        return all(role.startswith(ARCHIVED_KINDS) for role in self.roles)


@dataclass(frozen=True)
class Inventory:
    """`findings` say what differs between places, or could not be seen."""

    rows: tuple[CertRow, ...]
    findings: tuple[str, ...]
    links: tuple[Link, ...]

    @property
    def is_ok(self) -> bool:
        return not (
            self.findings or any(row.ends_soon for row in self.rows) or any(link.why for link in self.links)
        )


def cert_inventory(
    spec: Spec, sightings: Sequence[CertInspection], links: Iterable[Link], at: datetime, days: int | None
) -> Inventory:
    """`days` is how many must be left; None: a third of a managed leaf's life, 30 days of any other's."""
    by_certificate: dict[str, list[CertInspection]] = {}
    for each in sightings:
        if each.facts is not None:
            by_certificate.setdefault(each.facts.cert.fingerprint, []).append(each)
    rows = tuple(_row(spec, seen, at, days) for seen in by_certificate.values())
    findings = (
        *_untrusted_findings(sightings),
        *_different_cert_findings(sightings),
        *_not_inspected_findings(sightings),
    )
    return Inventory(rows, findings, tuple(links))


def _row(spec: Spec, seen: Sequence[CertInspection], at: datetime, days: int | None) -> CertRow:
    facts = seen[0].facts
    assert facts is not None, "inventory gives only what was seen"
    roles = tuple(dict.fromkeys(each.role for each in seen))
    in_use = any(not _is_unused(spec, role) for role in roles)
    left = facts.cert.not_after - at
    needed = timedelta(days=days) if days is not None else _needed_validity(spec, facts.cert)
    return CertRow(
        roles=roles,
        facts=facts,
        locations=tuple(dict.fromkeys(each.location for each in seen)),
        used_by=tuple(dict.fromkeys(used_by(spec, role) for role in roles)),
        days_left=left.days,
        ends_soon=in_use and left < needed,
        in_use=in_use,
    )


def _needed_validity(spec: Spec, cert: CertSeen) -> timedelta:
    if spec.tls.mode != "managed" or cert.is_ca:
        return ENDS_SOON
    return (cert.not_after - cert.not_before) / 3


def _is_unused(spec: Spec, role: str) -> bool:
    kind, _, name = role.partition("/")
    if kind in ARCHIVED_KINDS:
        return True
    return kind in ("server", "peer", "health") and name not in [host.name for host in spec.hosts]


def archived_name(kept: str) -> str:
    """The consumer's name: of several certificates of one name that are kept, the later have a number after a `~`."""
    return kept.partition("~")[0]


def used_by(spec: Spec, role: str) -> str:
    """Who uses a certificate, and what for."""
    kind, _, name = role.partition("/")
    if kind in ARCHIVED_KINDS:
        known = archived_name(name)
        why = f"{known} is forgotten" if kind == "forgotten" else f"{known} has a newer one"
        return f"nobody: {why}; etcd lets it in until this ends or its CA is dropped"
    if _is_unused(spec, role):
        return f"nobody: {name} is no member"
    return {
        "ca": "everybody, to judge members and clients",
        "peer-ca": "members, to judge each other",
        "server": f"{name}, towards clients",
        "peer": f"{name}, towards its peers in both directions",
        "health": f"health checks on {name}",
        "admin": "etcdup, and you",
    }.get(kind, f"the consumer {name}")


def _untrusted_findings(sightings: Sequence[CertInspection]) -> list[str]:
    """Leaves in files that no trusted CA signed. A port shows its leaf alone, which may want an intermediate."""
    return [
        f"{each.role} {each.location} was signed by none of the CAs that are trusted ({each.facts.issuer})"
        for each in sightings
        if each.facts is not None
        and each.kind != "served"
        and not each.facts.cert.issuer_key
        and not each.role.startswith(ARCHIVED_KINDS)
    ]


def _different_cert_findings(sightings: Sequence[CertInspection]) -> list[str]:
    """Places that have another certificate than the operator."""
    ours: dict[str, set[str]] = {}
    for each in sightings:
        if each.kind == "operator" and each.facts is not None:
            ours.setdefault(each.role, set()).add(each.facts.cert.fingerprint)
    found = []
    for each in sightings:
        if each.facts is None or each.kind == "operator":
            continue
        if each.facts.cert.fingerprint not in ours.get(each.role, ()):
            until = f"serial {each.facts.serial}, until {each.facts.cert.not_after:%Y-%m-%d %H:%M} UTC"
            found.append(f"{each.role} {each.location} is another certificate than yours here ({until})")
    return found


def _not_inspected_findings(sightings: Sequence[CertInspection]) -> list[str]:
    """What could not be seen; what is the matter with a whole host is said once."""
    return list(
        dict.fromkeys(
            each.why if each.kind == "host" and not each.role else f"{each.role} {each.location}: {each.why}"
            for each in sightings
            if each.why
        )
    )
