"""All certificates of a cluster and all locations where each was found: differences, and which expire soon."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from etcdup.core.certs.required import crl_ageing
from etcdup.core.observed.pki import CertSeen, CrlSeen
from etcdup.core.spec.model import Spec

# For a CA, and for provided certificates, which etcdup does not renew (rule 17).
ENDS_SOON = timedelta(days=30)
CA_ROLES = ("ca", "peer-ca")
# Kinds of roles of archived certificates of consumers and former members. etcd still accepts them.
ARCHIVED_KINDS = ("forgotten", "replaced", "former")
REVOKED = "no client: it is revoked, and members reject it"

InspectionKind = Literal["operator", "host", "served"]
LinkPort = Literal["client", "peer"]


@dataclass(frozen=True)
class CertFacts:
    """The public facts of a certificate. Subject and issuer are in RFC 4514 form, the serial number is hexadecimal."""

    cert: CertSeen
    subject: str
    issuer: str
    serial: str


@dataclass(frozen=True)
class CertInspection:
    """One certificate at one location. Roles have the names of PkiSeen; CA files are `ca` and `peer-ca`.

    `port` is 0 except for a served certificate. `facts` is None if the certificate could not be read, and `why` is the
    reason. `hint` is set if the reason is on the way to the port. An empty role means all certificates on a host.
    """

    role: str
    kind: InspectionKind
    host: str = ""
    port: int = 0
    facts: CertFacts | None = None
    why: str = ""
    hint: str = ""

    @property
    def location(self) -> str:
        if self.kind == "operator":
            return "here"
        return f"on {self.host}" if self.kind == "host" else f"served on {self.host}:{self.port}"


@dataclass(frozen=True)
class Link:
    """A TLS connection from the host of a member to a port of another member. `why` is the error; empty if it works.

    `untried` is set if etcdup could not try the connection, which may work: it is what the operator can do then.
    """

    source: str
    target: str
    why: str = ""
    port: LinkPort = "client"
    untried: str = ""

    @property
    def problem(self) -> str:
        """Return the error as text."""
        if self.untried:
            return f"{self.source}: a TLS connection to the {self.port} port of {self.target} was not tried: {self.why}"
        return f"{self.source} cannot connect to the {self.port} port of {self.target} with TLS: {self.why}"


@dataclass(frozen=True)
class CertRow:
    """One certificate with all its roles and all locations where it was found."""

    roles: tuple[str, ...]
    facts: CertFacts
    locations: tuple[str, ...]
    used_by: tuple[str, ...]
    days_left: int
    ends_soon: bool
    in_use: bool
    is_revoked: bool = False


@dataclass(frozen=True)
class Inventory:
    """All certificates. `findings` are differences between locations, and what could not be read."""

    rows: tuple[CertRow, ...]
    findings: tuple[str, ...]
    links: tuple[Link, ...]
    crls: tuple[CrlSeen, ...] = ()

    @property
    def is_ok(self) -> bool:
        return not (
            self.findings or any(row.ends_soon for row in self.rows) or any(link.why for link in self.links)
        )


def cert_inventory(
    spec: Spec,
    sightings: Sequence[CertInspection],
    links: Iterable[Link],
    at: datetime,
    days: int | None,
    crls: Collection[CrlSeen] = (),
    waiting: Collection[str] = (),
    shared: Collection[str] = (),
) -> Inventory:
    """Return all certificates with their locations.

    `days` is the required remaining validity. None means a third of the lifetime for managed certificates, and 30 days
    for CAs and provided certificates. `crls` are the revocation lists of the members. Members on hosts that are
    `waiting` for their take-over have certificates of another tool. Replaced members have those of `shared`, too.
    """
    by_certificate: dict[str, list[CertInspection]] = {}
    for each in sightings:
        if each.facts is not None:
            by_certificate.setdefault(each.facts.cert.fingerprint, []).append(each)
    revoked = frozenset(serial for crl in crls for serial in crl.revoked)
    rows = tuple(_row(spec, seen, at, days, revoked) for seen in by_certificate.values())
    findings = (
        *_untrusted_findings(sightings),
        *_different_cert_findings(sightings, waiting),
        *_not_inspected_findings(sightings),
        *_crl_findings(crls, at),
        *(
            f"{name}: a replaced member has the same certificates: run `etcdup certs revoke {name}`"
            for name in shared
        ),
    )
    return Inventory(rows, findings, tuple(links), tuple(dict.fromkeys(crls)))


def _crl_findings(crls: Collection[CrlSeen], at: datetime) -> Iterator[str]:
    """Report lists that expire. etcd does not read this date, and other programs may."""
    for crl in dict.fromkeys(crls):
        if reason := crl_ageing(crl, at):
            yield f"revocation list {crl.number}: {reason}"


def _row(
    spec: Spec, seen: Sequence[CertInspection], at: datetime, days: int | None, revoked: frozenset[str]
) -> CertRow:
    facts = seen[0].facts
    assert facts is not None, "cert_inventory passes only certificates that were read"
    roles = tuple(dict.fromkeys(each.role for each in seen))
    is_revoked = facts.serial in revoked
    in_use = not is_revoked and any(not _is_unused(spec, role) for role in roles)
    left = facts.cert.not_after - at
    needed = timedelta(days=days) if days is not None else _needed_validity(spec, facts.cert)
    return CertRow(
        roles=roles,
        facts=facts,
        locations=tuple(dict.fromkeys(each.location for each in seen)),
        used_by=(REVOKED,) if is_revoked else tuple(dict.fromkeys(used_by(spec, role) for role in roles)),
        days_left=left.days,
        ends_soon=in_use and left < needed,
        in_use=in_use,
        is_revoked=is_revoked,
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
    """Return the name of the consumer or former member. Further archives of one name have a number after a `~`."""
    return kept.partition("~")[0]


def used_by(spec: Spec, role: str) -> str:
    """Return the user of a certificate and its purpose, as text."""
    kind, _, name = role.partition("/")
    if kind in ARCHIVED_KINDS:
        owner = archived_name(name.partition("/")[0])
        if kind == "former":
            return f"no member: {owner} is removed; etcd accepts it until it expires or is revoked"
        why = f"{owner} is forgotten" if kind == "forgotten" else f"{owner} has a newer one"
        return f"no client: {why}; etcd accepts it until it expires or is revoked"
    if _is_unused(spec, role):
        return f"no member: {name} is not in cluster.yaml"
    return {
        "ca": "members and clients, to verify each other",
        "peer-ca": "members, to verify each other",
        "server": f"{name}, for its clients",
        "peer": f"{name}, for its peers in both directions",
        "health": f"health checks on {name}",
        "admin": "etcdup and you",
    }.get(kind, f"the consumer {name}")


def _untrusted_findings(sightings: Sequence[CertInspection]) -> list[str]:
    """Report certificates in files that no trusted CA signed.

    A port serves only its own certificate, which can need an intermediate certificate. So ports are left out.
    """
    return [
        f"{each.role} {each.location} was not signed by a trusted CA (issuer: {each.facts.issuer})"
        for each in sightings
        if each.facts is not None
        and each.kind != "served"
        and not each.facts.cert.issuer_key
        and not each.role.startswith(ARCHIVED_KINDS)
    ]


def _different_cert_findings(sightings: Sequence[CertInspection], waiting: Collection[str]) -> list[str]:
    """Report locations with another certificate than the PKI of the operator.

    The PKI may have no certificate of a member on a host that waits for its take-over.
    """
    ours: dict[str, set[str]] = {}
    for each in sightings:
        if each.kind == "operator" and each.facts is not None:
            ours.setdefault(each.role, set()).add(each.facts.cert.fingerprint)
    found = []
    for each in sightings:
        if each.facts is None or each.kind == "operator":
            continue
        if each.host in waiting and each.role not in ours:
            continue
        if each.facts.cert.fingerprint not in ours.get(each.role, ()):
            until = f"serial {each.facts.serial}, until {each.facts.cert.not_after:%Y-%m-%d %H:%M} UTC"
            found.append(
                f"{each.role} {each.location} is not the certificate in your PKI directory ({until})"
            )
    return found


def _not_inspected_findings(sightings: Sequence[CertInspection]) -> list[str]:
    """Report certificates that could not be read. A fault of a whole host is reported once."""
    return list(
        dict.fromkeys(
            each.why if each.kind == "host" and not each.role else f"{each.role} {each.location}: {each.why}"
            for each in sightings
            if each.why
        )
    )
