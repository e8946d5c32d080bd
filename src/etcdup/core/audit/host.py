"""One host, judged: its clock, its disk, its ways to the others, what stands in etcd's way (rules 87-96)."""

from collections.abc import Iterator
from datetime import timedelta

from etcdup.core.audit.disk import disk_findings
from etcdup.core.audit.findings import Evidence, Finding, HostInspection
from etcdup.core.certs.inventory import CertInspection
from etcdup.core.certs.required import CLIENT_AUTH, SERVER_AUTH
from etcdup.core.host.content import CertContent
from etcdup.core.host.drift import file_changes
from etcdup.core.host.files import desired_files
from etcdup.core.members.bootstrap import refuse_join, refuse_taken_ports
from etcdup.core.observed.model import HostSeen, Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec, is_ip

CLOCK_DRIFT_S = 1.0  # from there on etcd itself warns
_EXPOSED = 5.0
# Programs that a host may not have: code, package, what the program reports, why that matters, rule.
_PROGRAMS = {
    "ping": (
        "round-trip-not-measured",
        "iputils-ping",
        "the round trip from",
        "timeouts that are too short for it cost elections",
        87,
    ),
    "ip": (
        "source-address-not-read",
        "iproute2",
        "the source address of",
        "peers turn away one that the peer certificate lacks",
        18,
    ),
}
_SYNC = "set up time synchronisation (chrony or systemd-timesyncd); `timedatectl` shows its state"


def host_findings(spec: Spec, host: HostSpec, evidence: Evidence) -> Iterator[Finding]:
    """Everything that can be said of one reachable host."""
    seen = evidence.observed.hosts[host.name]
    assert isinstance(seen, HostSeen)
    yield from _setup_findings(spec, host, seen)
    yield from _file_findings(spec, host, seen, evidence.observed)
    closer = evidence.inspections.get(host.name)
    yield from disk_findings(spec, host, seen, closer)
    if closer is not None:
        yield from _inspection_findings(spec, host, seen, closer)


def clock_findings(observed: Observed) -> Iterator[Finding]:
    """Against this machine, and against each other. Where all hosts agree, it is this machine's clock that is off."""
    ahead = {name: seen.clock_ahead_s for name, seen in observed.reachable().items()}
    off = {name: by for name, by in ahead.items() if abs(by) > CLOCK_DRIFT_S}
    spread = max(ahead.values(), default=0.0) - min(ahead.values(), default=0.0)
    why = "certificates are judged by each host's own clock, and etcd warns above 1 s between members"
    if len(off) > 1 and len(off) == len(ahead) and spread <= CLOCK_DRIFT_S:
        what = f"the clock of this machine is {_clock_difference(-next(iter(off.values())))} all hosts'"
        yield Finding("wrong", "", what, why, f"here: {_SYNC}", (94,), code="clock-of-this-machine")
        return
    for name, by in off.items():
        what = f"the clock of {name} is {_clock_difference(by)} this machine's"
        yield Finding("wrong", name, what, why, f"on {name}: {_SYNC}", (94,), code="clock-differs")
    # One is ahead of us then and one behind, each by no less than this: so it is certain, however long the looks took.
    if spread > CLOCK_DRIFT_S and not off:
        first, last = (pick(ahead, key=ahead.__getitem__) for pick in (max, min))
        what = f"the clock of {first} is {spread:.1f} s ahead of {last}'s"
        yield Finding("wrong", "", what, why, f"on each host: {_SYNC}", (94,), code="clock-differs")


def _clock_difference(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _setup_findings(spec: Spec, host: HostSpec, seen: HostSeen) -> Iterator[Finding]:
    """What would keep etcdup from setting this host up: the planner's own guards (their clock is not ours)."""
    if seen.marker is None and seen.unit.is_running:
        yield Finding(
            "advice", host.name, "the etcd that runs here was not set up by etcdup",
            "`etcdup apply` refuses to touch it", "judge it by what follows; etcdup leaves it alone", (96,),
            code="etcd-not-by-etcdup",
        )  # fmt: skip
    elif seen.marker is None:
        for refused in refuse_join(spec, host, seen):
            if refused.rules != (94,):
                why = "`etcdup apply` refuses to begin"
                yield Finding(
                    "wrong",
                    host.name,
                    refused.message,
                    why,
                    refused.hint or "take another host",
                    refused.rules,
                    code="setup-refused",
                )
    if seen.marker is not None and not seen.unit.is_running:
        yield Finding(
            "wrong", host.name, f"etcd does not run (etcd.service is {seen.unit.active})",
            "the cluster has one failure less to spare", "`etcdup apply` starts it, or says why it cannot", (11,),
            code="etcd-stopped",
        )  # fmt: skip
        for refused in refuse_taken_ports(spec, host, seen):
            why = "etcd cannot start beside it"
            yield Finding(
                "wrong", host.name, refused.message, why, refused.hint, refused.rules, code="port-taken"
            )


def _file_findings(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Finding]:
    """Keys and certificates that are not the operator's, and rights that were loosened (rules 16, 24)."""
    if seen.marker is None:
        return
    layout = layout_of(spec, host)
    secrets = [
        file
        for file in desired_files(spec, host, layout, seen.marker.token, observed.pki)
        if isinstance(file.content, CertContent)
    ]
    changes = file_changes(secrets, seen)
    differing = {change.path for change in changes if not change.diff}
    for change in changes:
        if change.action == "create":
            code = "certificate-file-missing"
            what, why = f"there is no {change.path}", "etcd cannot start again without it"
        elif change.diff:
            code = "certificate-file-mode"
            what, why = f"{change.path}: {change.diff.strip()}", "whoever reads a key can pose as this member"
        elif change.path.endswith("-key.pem"):
            code = "key-wrong"
            alone = change.path.replace("-key.pem", ".pem") not in differing
            what = f"{change.path} {'does not match its certificate' if alone else 'is another key than the PKI has'}"
            why = "every new handshake fails, while open connections hide it"
        else:
            code = "certificate-wrong"
            what, why = f"{change.path} is another certificate than the PKI's", "others may not accept it"
        yield Finding(
            "wrong",
            host.name,
            what,
            why,
            "`etcdup apply` puts it right, without a restart",
            (16, 24),
            code=code,
        )


def _inspection_findings(
    spec: Spec, host: HostSpec, seen: HostSeen, closer: HostInspection
) -> Iterator[Finding]:
    # Before a host is ours, `_against` says so.
    if closer.other_units and (seen.marker is not None or seen.unit.is_running):
        yield Finding(
            "wrong", host.name, f"another etcd runs as well: {', '.join(closer.other_units)}",
            "two on one host fight for ports and disk",
            "stop it if it is not needed: `systemctl disable --now " + " ".join(closer.other_units) + "`", (96,),
            code="second-etcd",
        )  # fmt: skip
    if closer.swap and not host.root:
        why = "a member whose memory is on disk misses heartbeats"
        yield Finding(
            "advice",
            host.name,
            "swap is on",
            why,
            "`swapoff -a`, and out of /etc/fstab",
            (93,),
            code="swap-on",
        )
    if closer.exposure is not None and closer.exposure > _EXPOSED and seen.unit.is_running:
        yield Finding(
            "advice", host.name, f"systemd rates etcd.service {closer.exposure} of 10 (10: all doors open)",
            "a hole in etcd is a hole in the host", "harden the unit: `systemd-analyze security etcd.service`", (89,),
            code="unit-not-hardened",
        )  # fmt: skip
    if not (host.root or host.local):
        yield from synchronisation_findings(host.name, closer)
        for program in closer.missing_programs:
            code, package, what, why, rule = _PROGRAMS[program]
            yield Finding(
                "untried", host.name, f"{what} {host.name} was not looked at: it has no {program}",
                why, f"install {package} there", (rule,), code=code,
            )  # fmt: skip
    yield from _port_findings(spec, host, closer)


def synchronisation_findings(host: str, closer: HostInspection) -> Iterator[Finding]:
    """Clocks that agree today and follow nobody drift apart (rule 94)."""
    if closer.synchronised is None:
        yield Finding(
            "untried", host, f"whether the clock of {host} is synchronised: neither timedatectl nor chronyc tells",
            "a clock that follows no other drifts away from the other hosts'", f"on {host}: {_SYNC}", (94,),
            code="clock-sync-unknown",
        )  # fmt: skip
    elif not closer.synchronised:
        yield Finding(
            "advice", host, f"the clock of {host} is not synchronised", "it drifts away from the other hosts'",
            f"on {host}: {_SYNC}", (94,), code="clock-not-synchronised",
        )  # fmt: skip


def _port_findings(spec: Spec, host: HostSpec, closer: HostInspection) -> Iterator[Finding]:
    for knock in closer.port_probes:
        port = f"{spec.host(knock.target).address}:{knock.port}"
        if not knock.has_tool:
            continue
        if not knock.answered:
            yield Finding(
                "wrong", host.name, f"{host.name} gets no answer from {knock.target} at {port}",
                "a link that works one way only stays hidden until a leader changes",
                f"open the way from {host.name} to {port} (firewall, route)", (95,), code="port-unreachable",
            )  # fmt: skip


def certificate_findings(evidence: Evidence) -> Iterator[Finding]:
    """What the ports really serve to a new handshake (rules 17-19)."""
    for each in evidence.cert_inspections:
        if each.facts is None:
            if isinstance(evidence.observed.hosts[each.host], HostSeen):
                what = f"{each.role} on port {each.port}: {each.why}"
                why = "whoever connects anew gets no further; open connections hide it"
                fix = "`etcdup apply` puts certificates and keys right; `etcdup certs list` shows them"
                yield Finding("wrong", each.host, what, why, fix, (16, 17), code="handshake-failed")
            continue
        yield from _served_cert_findings(each, evidence)
        if each.role.startswith("peer/"):
            yield from _source_address_findings(each, evidence)


def _served_cert_findings(each: CertInspection, evidence: Evidence) -> Iterator[Finding]:
    assert each.facts is not None
    cert, at = each.facts.cert, evidence.observed.at
    whose = f"the certificate that {each.host}:{each.port} serves"
    if lacking := [usage for usage in (SERVER_AUTH, CLIENT_AUTH) if cert.usages and usage not in cert.usages]:
        yield Finding(
            "wrong", each.host, f"{whose} lacks the extended key usage {' and '.join(lacking)}",
            "members dial each other, and themselves, with it: half of the links fail, and health does not show it",
            "have it issued for serverAuth and clientAuth; then `etcdup apply`", (19,), code="key-usage-missing",
        )  # fmt: skip
    if at >= cert.not_after:
        what = f"{whose} expired on {cert.not_after:%Y-%m-%d %H:%M} UTC"
        yield Finding(
            "wrong",
            each.host,
            what,
            "no new connection succeeds",
            "`etcdup certs renew`",
            (17,),
            code="certificate-expired",
        )
    elif (
        cert.not_after - at < timedelta(days=30)
        and (cert.not_after - at) * 3 < cert.not_after - cert.not_before
    ):
        what = f"{whose} expires on {cert.not_after:%Y-%m-%d %H:%M} UTC"
        why = "then no new connection succeeds"
        yield Finding(
            "advice", each.host, what, why, "`etcdup certs renew`", (17,), code="certificate-expires-soon"
        )


def _source_address_findings(each: CertInspection, evidence: Evidence) -> Iterator[Finding]:
    """A peer's certificate is compared with the address that it dials from."""
    assert each.facts is not None
    closer = evidence.inspections.get(each.host)
    named = each.facts.cert.addresses
    sources = {s for s in closer.sources.values() if is_ip(s)} if closer is not None else set()
    for source in sorted(sources - set(named)) if named else ():
        yield Finding(
            "wrong", each.host, f"{each.host} dials its peers from {source}, which its peer certificate lacks",
            "they turn it away", f"add {source} to its names, or route its traffic from {', '.join(named)}", (18,),
            code="source-address-missing",
        )  # fmt: skip
