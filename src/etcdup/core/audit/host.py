"""Findings about one host: clock, disks, ports, units, certificates and keys (rules 16-24, 87-96)."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from etcdup.core.audit.disk import disk_findings
from etcdup.core.audit.findings import Evidence, Finding, HostInspection, as_sentence
from etcdup.core.audit.requirements import outside_findings, program_findings
from etcdup.core.certs.inventory import CertInspection
from etcdup.core.certs.required import CLIENT_AUTH, SERVER_AUTH
from etcdup.core.host.clocks import SYNC_HINT
from etcdup.core.host.content import CertContent
from etcdup.core.host.drift import file_changes
from etcdup.core.host.files import desired_files
from etcdup.core.members.bootstrap import refuse_join
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec, is_ip

CLOCK_DRIFT_S = 1.0  # etcd logs a warning above this difference
_EXPOSED = 5.0  # of 10, as `systemd-analyze security` rates a unit
# Programs that a host may not have: code, package, what the program reports, why that matters, rule.
_PROGRAMS = {
    "ping": (
        "round-trip-not-measured",
        "iputils-ping",
        "The round-trip time from",
        "Timeouts that are too short for the network cause elections.",
        87,
    ),
    "ip": (
        "source-address-not-read",
        "iproute2",
        "The source address of",
        "Peers reject a member whose source address is missing from its certificate.",
        18,
    ),
}
_SYNC = f"{SYNC_HINT}."
_RENEW = (
    "Run `etcdup certs renew`. It restarts no member. With `tls: {mode: provided}`, replace the files and run "
    "`etcdup apply` instead."
)
_CLOCK_WHY = (
    "With a wrong clock, a host can reject a valid certificate. etcd logs a warning if the clocks of two members "
    "differ by more than 1 s."
)
_DRIFT_WHY = "It differs more and more from the clocks of the other hosts."


def host_findings(spec: Spec, host: HostSpec, evidence: Evidence) -> Iterator[Finding]:
    """Return all findings about one reachable host, without those about its clock and its served certificates."""
    seen = evidence.observed.hosts[host.name]
    assert isinstance(seen, HostSeen)
    yield from _setup_findings(spec, host, seen, evidence.observed)
    yield from _file_findings(spec, host, seen, evidence.observed)
    inspection = evidence.inspections.get(host.name)
    yield from disk_findings(spec, host, seen, inspection)
    if inspection is not None:
        yield from _inspection_findings(host, seen, inspection)


def clock_findings(observed: Observed) -> Iterator[Finding]:
    """Compare the clocks of the hosts with this machine and with each other.

    If all hosts agree, the clock of this machine is the wrong one.
    """
    ahead = {name: seen.clock_ahead_s for name, seen in observed.reachable().items()}
    off = {name: by for name, by in ahead.items() if abs(by) > CLOCK_DRIFT_S}
    spread = max(ahead.values(), default=0.0) - min(ahead.values(), default=0.0)
    if len(off) > 1 and len(off) == len(ahead) and spread <= CLOCK_DRIFT_S:
        what = f"The clock of this machine is {_clock_difference(-next(iter(off.values())))} the clocks of all hosts."
        fix = f"On this machine, {_SYNC}"
        yield Finding("wrong", "", what, _CLOCK_WHY, fix, (94,), code="clock-of-this-machine")
        return
    for name, by in off.items():
        what = f"The clock of {name} is {_clock_difference(by)} the clock of this machine."
        yield Finding("wrong", name, what, _CLOCK_WHY, f"On {name}, {_SYNC}", (94,), code="clock-differs")
    # Each difference is a lower bound, whatever time the probe took. Here one clock is ahead of this machine and one is
    # behind it, so the clocks of these two hosts differ by at least this much.
    if spread > CLOCK_DRIFT_S and not off:
        first, last = (pick(ahead, key=ahead.__getitem__) for pick in (max, min))
        what = f"The clock of {first} is {spread:.1f} s ahead of the clock of {last}."
        yield Finding("wrong", "", what, _CLOCK_WHY, f"On each host, {_SYNC}", (94,), code="clock-differs")


def _clock_difference(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _setup_findings(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Finding]:
    """Report what prevents a setup of this host, by the guards of the planner.

    Their refusal of the clock (rule 94) is left out: `clock_findings` reports the clock at a lower limit.
    """
    if seen.marker is None and seen.unit.is_running:
        yield Finding(
            "advice",
            host.name,
            "etcdup did not set up the etcd that runs here.",
            "`etcdup apply` refuses to change this host.",
            "Use the other findings of this host as advice. etcdup changes nothing here.",
            (96,),
            code="etcd-not-by-etcdup",
        )
    elif seen.marker is None:
        for refused in refuse_join(spec, host, seen, observed):
            if refused.rules != (94,):
                yield Finding(
                    "wrong",
                    host.name,
                    as_sentence(refused.message, host.name),
                    "`etcdup apply` refuses to start, and changes nothing.",
                    as_sentence(refused.hint or "Use another host"),
                    refused.rules,
                    code="setup-refused",
                )
    if seen.marker is not None:
        yield from program_findings(seen)
        yield from outside_findings(spec, host, seen, observed)


def _file_findings(spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed) -> Iterator[Finding]:
    """Report keys and certificates that differ from the PKI directory, and wrong modes or owners (rules 16, 24)."""
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
            what, why = f"{change.path} does not exist.", "etcd cannot start again without it."
        elif change.diff:
            code = "certificate-file-mode"
            what, why = (
                f"{change.path}: {change.diff.strip()}.",
                "A user who can read a key can act as this member.",
            )
        elif change.path.endswith("-key.pem"):
            code = "key-wrong"
            alone = change.path.replace("-key.pem", ".pem") not in differing
            fault = "does not match its certificate" if alone else "is not the key in the PKI directory"
            what = f"{change.path} {fault}."
            why = "Each new handshake fails. Open connections continue and hide this."
        else:
            code = "certificate-wrong"
            what = f"{change.path} is not the certificate in the PKI directory."
            why = "Other members or clients may reject it."
        yield Finding(
            "wrong",
            host.name,
            what,
            why,
            "Run `etcdup apply`. It corrects the file and restarts nothing.",
            (16, 24),
            code=code,
        )


def _inspection_findings(host: HostSpec, seen: HostSeen, inspection: HostInspection) -> Iterator[Finding]:
    # On a host without a marker and without a running etcd, `refuse_join` refuses the other unit.
    if inspection.other_units and (seen.marker is not None or seen.unit.is_running):
        yield Finding(
            "wrong",
            host.name,
            f"A second etcd runs on this host: {', '.join(inspection.other_units)}.",
            "Two members on one host compete for ports and for the disk.",
            "If you do not need it, run `systemctl disable --now " + " ".join(inspection.other_units) + "`.",
            (96,),
            code="second-etcd",
        )
    if inspection.swap and not host.root:
        why = "A member whose memory is swapped out misses heartbeats."
        yield Finding(
            "advice",
            host.name,
            "Swap is on.",
            why,
            "Remove the swap entry from /etc/fstab. If `free` shows more available memory than used swap, run "
            "`swapoff -a`.",
            (93,),
            code="swap-on",
        )
    if inspection.exposure is not None and inspection.exposure > _EXPOSED and seen.unit.is_running:
        yield Finding(
            "advice",
            host.name,
            f"systemd rates etcd.service {inspection.exposure} of 10 (0 is safest, 10 is not hardened).",
            "A security hole in etcd then gives access to the whole host.",
            "Run `systemd-analyze security etcd.service`, and set the options that it lists.",
            (89,),
            code="unit-not-hardened",
        )
    if not (host.root or host.local):
        yield from synchronisation_findings(host.name, inspection)
        for program in inspection.missing_programs:
            code, package, what, why, rule = _PROGRAMS[program]
            yield Finding(
                "untried",
                host.name,
                f"{what} {host.name} was not measured: the host has no {program}.",
                why,
                f"Install {program} on {host.name} (on Debian: the package {package}), then run `etcdup check` again.",
                (rule,),
                code=code,
            )


def synchronisation_findings(host: str, inspection: HostInspection) -> Iterator[Finding]:
    """Report a clock that no time service synchronises (rule 94). Such a clock can still be correct today."""
    if inspection.synchronised is None:
        yield Finding(
            "untried",
            host,
            f"Neither timedatectl nor chronyc reports whether the clock of {host} is synchronised.",
            "A clock without synchronisation differs more and more from the other hosts.",
            f"On {host}, {_SYNC}",
            (94,),
            code="clock-sync-unknown",
        )
    elif not inspection.synchronised:
        yield Finding(
            "advice",
            host,
            f"The clock of {host} is not synchronised.",
            _DRIFT_WHY,
            f"On {host}, {_SYNC}",
            (94,),
            code="clock-not-synchronised",
        )


def port_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report ports that do not answer, once for all hosts. A host that etcdup cannot reach either is a cause."""
    for kind in ("peer", "client"):
        links = [*_closed_links(spec, evidence, kind)]
        if len(links) == 1:
            source, target, port = links[0]
            at = f"{spec.host(target).address}:{port}"
            what = f"{source} gets no answer from {target} at {at}."
            fix = f"Permit TCP connections from {source} to {at} in the firewall, and check the route."
        elif links:
            ports = ", ".join(sorted({str(port) for _, _, port in links}))
            what = f"Connections to the {kind} port ({ports}) get no answer: {_by_source(links)}."
            fix = f"Permit TCP connections between these hosts to port {ports} in the firewalls, and check the routes."
        else:
            continue
        sources = {source for source, _, _ in links}
        why = "A link that works in one direction only can stay hidden until the leader changes."
        host = sources.pop() if len(sources) == 1 else ""
        yield Finding("wrong", host, what, why, fix, (95,), code="port-unreachable")


def _closed_links(spec: Spec, evidence: Evidence, kind: str) -> Iterator[tuple[str, str, int]]:
    """Yield source, target and port of each connection of this kind that got no answer."""
    reached = evidence.observed.reachable()
    for source, inspection in evidence.inspections.items():
        for probe in inspection.port_probes:
            is_client = probe.port == spec.client_port(spec.host(probe.target))
            is_closed = probe.has_tool and not probe.answered and probe.target in reached
            if is_closed and is_client == (kind == "client"):
                yield source, probe.target, probe.port


def _by_source(links: Sequence[tuple[str, str, int]]) -> str:
    """Return `infra1 to infra2, infra3; infra2 to infra1`."""
    targets: dict[str, list[str]] = {}
    for source, target, _ in links:
        targets.setdefault(source, []).append(target)
    return "; ".join(f"{source} to {', '.join(names)}" for source, names in targets.items())


def certificate_findings(evidence: Evidence) -> Iterator[Finding]:
    """Check the certificates that the ports serve in a new handshake (rules 16-19)."""
    for each in evidence.cert_inspections:
        if each.facts is None:
            if isinstance(evidence.observed.hosts[each.host], HostSeen):
                what = as_sentence(f"{each.role} on port {each.port}: {each.why}", each.role)
                if each.hint:
                    why = "etcdup cannot read the certificate that this port serves."
                    fix = as_sentence(each.hint)
                    yield Finding("untried", each.host, what, why, fix, (16,), code="port-not-tried")
                    continue
                why = "No new client or peer can connect. Open connections continue and hide this."
                fix = "Run `etcdup apply`, which corrects certificates and keys. `etcdup certs list` shows them."
                yield Finding("wrong", each.host, what, why, fix, (16, 17), code="handshake-failed")
            continue
        yield from _served_cert_findings(each, evidence)
        if each.role.startswith("peer/"):
            yield from _source_address_findings(each, evidence)


def _served_cert_findings(each: CertInspection, evidence: Evidence) -> Iterator[Finding]:
    assert each.facts is not None
    cert, at = each.facts.cert, evidence.observed.at
    served = f"The certificate on {each.host}:{each.port}"
    if missing := [usage for usage in (SERVER_AUTH, CLIENT_AUTH) if cert.usages and usage not in cert.usages]:
        yield Finding(
            "wrong",
            each.host,
            f"{served} has no extended key usage {' and '.join(missing)}.",
            "A member uses it as server and as client. Links in one direction fail, and `etcdup health` can succeed.",
            "Issue the certificate for serverAuth and clientAuth, then run `etcdup apply`.",
            (19,),
            code="key-usage-missing",
        )
    if at >= cert.not_after:
        what = f"{served} expired on {cert.not_after:%Y-%m-%d %H:%M} UTC."
        yield Finding(
            "wrong",
            each.host,
            what,
            "No new connection succeeds.",
            _RENEW,
            (17,),
            code="certificate-expired",
        )
    elif (
        cert.not_after - at < timedelta(days=30)
        and (cert.not_after - at) * 3 < cert.not_after - cert.not_before
    ):
        what = f"{served} expires on {cert.not_after:%Y-%m-%d %H:%M} UTC."
        why = "After that, no new connection succeeds."
        yield Finding("advice", each.host, what, why, _RENEW, (17,), code="certificate-expires-soon")


def _source_address_findings(each: CertInspection, evidence: Evidence) -> Iterator[Finding]:
    """Compare the peer certificate with the addresses from which the host connects to its peers (rule 18)."""
    assert each.facts is not None
    inspection = evidence.inspections.get(each.host)
    named = each.facts.cert.addresses
    own = [address for address in named if address not in ("127.0.0.1", "::1")]
    sources = {s for s in inspection.sources.values() if is_ip(s)} if inspection is not None else set()
    for source in sorted(sources - set(named)) if named else ():
        yield Finding(
            "wrong",
            each.host,
            f"{each.host} connects to its peers from {source}, which is not in its peer certificate.",
            "The peers reject these connections.",
            f"Change the route so that {each.host} connects from {' or '.join(own or named)}. Or set `address` of "
            f"{each.host} to {source} in cluster.yaml, then run `etcdup apply`. With `tls: {{mode: provided}}`, you "
            f"can add {source} to the peer certificate instead.",
            (18,),
            code="source-address-missing",
        )
