"""The whole audit: all findings from the evidence. Pure: the same evidence gives the same findings."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace

from etcdup.core.audit.findings import LEVELS, Evidence, Finding, as_sentence
from etcdup.core.audit.host import certificate_findings, clock_findings, host_findings, port_findings
from etcdup.core.audit.members import members_findings
from etcdup.core.audit.process_settings import number_of
from etcdup.core.audit.revocation import revocation_findings
from etcdup.core.audit.settings import settings_findings
from etcdup.core.certs.inventory import Link
from etcdup.core.observed.model import Observed
from etcdup.core.spec.model import Spec
from etcdup.core.verdict.member_causes import CHECK_TESTS
from etcdup.core.verdict.verdict import Verdict, judge

# Settings that must be equal on all members: code, flag, why, rule. etcd itself does not compare them.
_EQUAL_SETTINGS = (
    (
        "heartbeat-differs",
        "heartbeat-interval",
        "The leader can send heartbeats less often than another member expects them.",
        87,
    ),
    (
        "election-differs",
        "election-timeout",
        "Some members start an election while the leader is healthy.",
        87,
    ),
    (
        "quota-differs",
        "quota-backend-bytes",
        "The member with the smallest quota stops all writes, although the others have free space.",
        77,
    ),
)
_MAKE_EQUAL_HINT = (
    "Run `etcdup apply`. On a cluster that etcdup did not set up, set the same value on all members and restart "
    "one member after the other."
)

_OF_CERTIFICATES = ("handshake-failed", "certificate-expired", "link-broken")
_OF_PKI = ("certificate-wrong", "key-wrong", "revocation-list-wrong", *_OF_CERTIFICATES)
_OF_STOPPED = ("handshake-failed", "port-not-tried")
# Findings that follow from a cause on the same host.
_ECHOES = {
    "clock-differs": ("clock-differs", "clock-of-this-machine"),
    "disk-full": ("data-disk-small", "log-disk-small", *_OF_STOPPED),
    "certificate-not-valid": _OF_CERTIFICATES,
    "pki-of-other-cluster": ("certificate-file-missing", *_OF_PKI),
    "pki-outdated": _OF_PKI,
    "host-of-other-member": ("setup-refused", *_OF_PKI),
    "marker-missing": ("setup-refused", "etcd-not-by-etcdup", "links-not-tried", *_OF_STOPPED),
    "ca-changed-on-host": _OF_PKI,
    "programs-missing": ("links-not-tried",),
    "start-prevented": _OF_STOPPED,
    "data-elsewhere": ("data-disk-small", "log-disk-small"),
    "member-silent": _OF_STOPPED,
    "etcd-fails": _OF_STOPPED,
    "etcd-starting": _OF_STOPPED,
    "etcd-stopped": _OF_STOPPED,
    "port-taken": _OF_STOPPED,
    "data-lost": _OF_STOPPED,
    "disk-not-mounted": _OF_STOPPED,
}

# Without the second file, because systemd copies the machine ID of D-Bus if there is one.
_NEW_MACHINE_ID = (
    "On all of them except one, run `rm -f /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup`. "
    "Then reboot one host after the other."
)
_NEW_HOSTNAME = "Run `hostnamectl set-hostname NAME` on each of them, each time with another name."


def audit(spec: Spec, evidence: Evidence) -> tuple[Finding, ...]:
    """Return every finding: first those of the whole cluster, then host by host, the most severe first in each."""
    found = dict.fromkeys(_all_findings(spec, evidence))
    order = {name: number for number, name in enumerate(["", *(host.name for host in spec.hosts)])}
    return tuple(sorted(found, key=lambda each: (order.get(each.host, len(order)), LEVELS.index(each.level))))


def _all_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    verdict = judge(spec, observed)
    yield from _cause_findings(verdict, observed)
    silent = observed.members.keys() - observed.answering().keys()
    yield from (each for each in _other_findings(spec, evidence) if not _is_echo(each, verdict, silent))


def _cause_findings(verdict: Verdict, observed: Observed) -> Iterator[Finding]:
    for each in verdict.causes:
        cause = replace(each, hint=each.hint.removesuffix(CHECK_TESTS))
        yield Finding.of_cause(cause, [*observed.members, "member-"])


def _is_echo(found: Finding, verdict: Verdict, silent: Set[str]) -> bool:
    """Return whether a finding follows from a cause of the verdict, which is reported."""
    if found.code == "hashes-not-compared" and silent and silent <= verdict.explained:
        return True
    return any(
        found.code in _ECHOES.get(each.code, ()) and (found.host in each.hosts or not each.hosts)
        for each in verdict.causes
    )


def _other_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    yield from _not_inspected_findings(evidence)
    yield from clock_findings(observed)
    for host in spec.hosts:
        if host.name in observed.reachable():
            yield from host_findings(spec, host, evidence)
    for inspection in evidence.inspections.values():
        found = settings_findings(inspection)
        # A local member runs as the user who started it. CIS 1.1.12 requires the user etcd, so it does not apply.
        yield from (each for each in found if not (each.cis == "1.1.12" and spec.host(inspection.host).root))
    yield from port_findings(spec, evidence)
    yield from certificate_findings(evidence)
    yield from revocation_findings(spec, evidence)
    yield from _cloned_machine_findings(spec, evidence)
    yield from _shared_key_findings(evidence)
    yield from _link_findings(spec, evidence)
    yield from members_findings(spec, evidence)


def _not_inspected_findings(evidence: Evidence) -> Iterator[Finding]:
    for name, why in evidence.not_inspected.items():
        yield Finding(
            "untried",
            name,
            as_sentence(f"{name} could not be inspected: {why}", name),
            "Settings, disks, clock and ports of this host were not checked.",
            "Run `etcdup check` again.",
            code="host-not-inspected",
        )
    for name, inspection in evidence.inspections.items():
        if inspection.port_probes and not any(probe.has_tool for probe in inspection.port_probes):
            yield Finding(
                "untried",
                name,
                f"{name} has no bash, so its connections to the ports of the other hosts were not tried.",
                "A firewall between two hosts then shows only when etcd starts.",
                f"Install bash on {name}, or try each port by hand.",
                (95,),
                code="ports-not-tried",
            )


def _cloned_machine_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report cloned machines (rule 96). Local members share one machine, and that is no fault."""
    own = {host.name for host in spec.hosts if not (host.root or host.local)}
    seen = {name: host for name, host in evidence.observed.reachable().items() if name in own}
    for code, what, fix, values in (
        (
            "same-machine-id",
            "machine ID",
            _NEW_MACHINE_ID,
            {name: host.machine_id for name, host in seen.items()},
        ),
        ("same-hostname", "host name", _NEW_HOSTNAME, {name: host.hostname for name, host in seen.items()}),
    ):
        for names in _groups_of_equal(values):
            yield Finding(
                "wrong",
                "",
                f"{' and '.join(names)} have the same {what}.",
                "They were probably cloned. DHCP servers, journals and monitoring cannot distinguish them.",
                fix,
                (96,),
                code=code,
            )


def _shared_key_findings(evidence: Evidence) -> Iterator[Finding]:
    for flag in ("key-file", "peer-key-file"):
        sums = {}
        for name, inspection in evidence.inspections.items():
            key = inspection.rights.get(inspection.settings.get(flag, ""))
            if key is not None and key.sha256:
                sums[name] = key.sha256
        for names in _groups_of_equal(sums):
            yield Finding(
                "advice",
                "",
                f"{', '.join(names)} use the same private key ({flag}).",
                "An attacker who takes the key from one host can act as each of these members.",
                "Issue a certificate with a key of its own for each member.",
                (20,),
                code="key-shared-by-members",
            )


def _groups_of_equal(values: Mapping[str, str]) -> list[list[str]]:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    return [names for names in by_value.values() if len(names) > 1]


def _link_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report TLS links that failed, timeouts that are too short, and settings that differ (rules 19, 77, 87, 95)."""
    for link in evidence.links:
        if link.untried:
            what = as_sentence(link.problem, link.source)
            why = "etcdup does not know whether this connection works."
            fix = as_sentence(link.untried)
            yield Finding("untried", link.source, what, why, fix, (19, 95), code="links-not-tried")
        elif link.why and not _is_port_closed(spec, evidence, link):
            yield Finding(
                "wrong",
                link.source,
                as_sentence(link.problem, link.source),
                "Open connections can hide this until the leader changes or a member restarts.",
                "Run `etcdup certs list` and compare both certificates.",
                (19, 95),
                code="link-broken",
            )
    yield from _untried_link_findings(spec, evidence)
    yield from _timing_findings(spec, evidence)
    yield from _unequal_setting_findings(evidence)


def _is_port_closed(spec: Spec, evidence: Evidence, link: Link) -> bool:
    """Return whether the hosts have no TCP connection to that port, which has a finding of its own (rule 95)."""
    inspection = evidence.inspections.get(link.source)
    target = next((host for host in spec.hosts if host.name == link.target), None)
    if inspection is None or target is None:
        return False
    port = spec.client_port(target) if link.port == "client" else spec.peer_port(target)
    return any(
        (each.target, each.port, each.answered) == (link.target, port, False)
        for each in inspection.port_probes
    )


def _timing_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Compare the largest round-trip time between two hosts with the shortest timeouts of the running members."""
    inspection = evidence.inspections.values()
    slowest = max((ms for each in inspection for ms in each.round_trips_ms.values()), default=0.0)
    heartbeat = _shortest_timeout(evidence, "heartbeat-interval", spec.etcd.heartbeat_ms)
    election = _shortest_timeout(evidence, "election-timeout", spec.etcd.election_ms)
    if slowest > heartbeat * 1.5 or slowest * 10 > election:
        better = max(heartbeat, round(slowest / 10 + 0.5) * 10)
        yield Finding(
            "advice",
            "",
            f"The largest round-trip time between two hosts is {slowest:.1f} ms.",
            f"With a heartbeat interval of {heartbeat} ms and an election timeout of {election} ms, "
            "the leader can change without a fault.",
            f"Set `heartbeat_ms: {better}` and `election_ms: {max(10 * better, election)}` below `etcd` in "
            "cluster.yaml, then run `etcdup apply`.",
            (87,),
            code="timeouts-too-short",
        )


def _shortest_timeout(evidence: Evidence, flag: str, otherwise: int) -> int:
    running = (number_of(each.settings, flag, otherwise) for each in evidence.inspections.values())
    return min(running, default=otherwise)


def _unequal_setting_findings(evidence: Evidence) -> Iterator[Finding]:
    """Report settings that must be equal on all members and are not (rules 77, 87)."""
    for code, flag, why, rule in _EQUAL_SETTINGS:
        running: dict[int, list[str]] = {}
        for name, inspection in evidence.inspections.items():
            if value := number_of(inspection.settings, flag, 0):
                running.setdefault(value, []).append(name)
        if len(running) > 1:
            each = ", ".join(f"{value} on {' and '.join(names)}" for value, names in sorted(running.items()))
            what = f"The members run with different values of {flag}: {each}."
            yield Finding("wrong", "", what, why, _MAKE_EQUAL_HINT, (rule,), code=code)


def _untried_link_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report TLS links that were not tried.

    A test needs a member that answers, and a host with the etcdctl and the certificate that etcdup installed.
    """
    observed = evidence.observed
    sources = [name for name in observed.reachable() if name not in observed.leaving]
    why = "An open port does not show whether certificates are accepted in both directions."
    if spec.size == 1 or not sources:
        return
    answering = observed.answering().keys()
    if not answering:
        what = "TLS links between hosts were not tried: no member answers."
        fix = "When the cluster runs, run `etcdup check` again. This time only the ports were tried."
        yield Finding("untried", "", what, why, fix, (19, 95), code="links-not-tried")
        return
    fixes = {
        "client": "On each of these hosts, run `etcdctl endpoint health` with the endpoints of the other members and "
        "the certificate of the host.",
        "peer": "Put the peer certificates of the members on this machine, where `tls` in cluster.yaml names them.",
    }
    reasons = {
        "client": "etcdup installed no etcd on these hosts",
        "peer": "their certificates are not on this machine",
    }
    # The only member that answers has no other one to connect to.
    with_target = [name for name in sources if answering - {name}]
    for port, fix in fixes.items():
        tried = {link.source for link in evidence.links if link.port == port}
        if missing := [name for name in with_target if name not in tried]:
            what = f"TLS links from {', '.join(missing)} to {port} ports were not tried: {reasons[port]}."
            yield Finding("untried", "", what, why, fix, (19, 95), code="links-not-tried")
