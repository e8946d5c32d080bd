"""The whole audit: findings out of what was seen. Pure; the same evidence gives the same findings."""

from collections.abc import Iterator, Mapping

from etcdup.core.audit.findings import LEVELS, Evidence, Finding
from etcdup.core.audit.host import certificate_findings, clock_findings, host_findings
from etcdup.core.audit.members import members_findings
from etcdup.core.audit.process_settings import number_of
from etcdup.core.audit.settings import settings_findings
from etcdup.core.spec.model import Spec

# What every member must have alike; etcd itself does not look.
_EQUAL_SETTINGS = (
    ("heartbeat-differs", "heartbeat-interval", "some miss heartbeats that others never meant to send", 87),
    ("election-differs", "election-timeout", "some ask for an election while others still wait", 87),
    (
        "quota-differs",
        "quota-backend-bytes",
        "the member that is full first stops all writes, while the others have room",
        77,
    ),
)
_MAKE_EQUAL_HINT = (
    "`etcdup apply` makes them one on a cluster that etcdup set up; "
    "elsewhere set it, one member after the other"
)


def audit(spec: Spec, evidence: Evidence) -> tuple[Finding, ...]:
    """Every finding, those about the whole cluster first, then host by host; the gravest first in each."""
    found = dict.fromkeys(_all_findings(spec, evidence))
    places = ["", *(host.name for host in spec.hosts)]
    order = {name: number for number, name in enumerate(places)}
    return tuple(sorted(found, key=lambda each: (order.get(each.host, len(order)), LEVELS.index(each.level))))


def _all_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    yield from _not_inspected_findings(evidence)
    yield from clock_findings(observed)
    for host in spec.hosts:
        if host.name in observed.reachable():
            yield from host_findings(spec, host, evidence)
    for closer in evidence.inspections.values():
        found = settings_findings(closer)
        # A member without systemd is a plain process of whoever set it up: 1.1.12 asks for a user that it cannot have.
        yield from (each for each in found if not (each.cis == "1.1.12" and spec.host(closer.host).root))
    yield from certificate_findings(evidence)
    yield from _cloned_machine_findings(spec, evidence)
    yield from _shared_key_findings(evidence)
    yield from _link_findings(spec, evidence)
    yield from members_findings(spec, evidence)


def _not_inspected_findings(evidence: Evidence) -> Iterator[Finding]:
    for gone in evidence.observed.unreachable().values():
        yield Finding(
            "wrong", gone.host, f"{gone.host} cannot be reached: {gone.why}",
            "nothing can be said of it, nor done for it; that is not to say that it is down",
            gone.hint or "see whether the machine is up, and SSH answers", (62,), code="host-unreachable",
        )  # fmt: skip
    for name, why in evidence.not_inspected.items():
        yield Finding(
            "untried",
            name,
            f"{name} could not be looked at closely: {why}",
            "",
            "run `check` again",
            code="host-not-inspected",
        )
    for name, closer in evidence.inspections.items():
        if closer.port_probes and not any(knock.has_tool for knock in closer.port_probes):
            yield Finding(
                "untried", name, f"whether {name} reaches the others' ports: it has no bash to try with",
                "a firewall in between shows only when etcd starts", "install bash, or try each port by hand", (95,),
                code="ports-not-tried",
            )  # fmt: skip


def _cloned_machine_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Cloned machines (rule 96). Local members share one machine on purpose."""
    own = {host.name for host in spec.hosts if not (host.root or host.local)}
    seen = {name: host for name, host in evidence.observed.reachable().items() if name in own}
    for code, what, values in (
        ("same-machine-id", "machine-id", {name: host.machine_id for name, host in seen.items()}),
        ("same-hostname", "hostname", {name: host.hostname for name, host in seen.items()}),
    ):
        for names in _groups_of_equal(values):
            yield Finding(
                "wrong", "", f"{' and '.join(names)} have the same {what}",
                "they were cloned: DHCP, journals and whoever counts machines take them for one",
                "give each its own" + (": `rm /etc/machine-id; systemd-machine-id-setup`" if "id" in what else ""),
                (96,), code=code,
            )  # fmt: skip


def _shared_key_findings(evidence: Evidence) -> Iterator[Finding]:
    for flag in ("key-file", "peer-key-file"):
        sums = {}
        for name, closer in evidence.inspections.items():
            key = closer.rights.get(closer.settings.get(flag, ""))
            if key is not None and key.sha256:
                sums[name] = key.sha256
        for names in _groups_of_equal(sums):
            yield Finding(
                "advice", "", f"{', '.join(names)} share one key ({flag})",
                "who takes it from one host can pose as all of them", "issue each member a pair of its own",
                (20,), code="key-shared-by-members",
            )  # fmt: skip


def _groups_of_equal(values: Mapping[str, str]) -> list[list[str]]:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    return [names for names in by_value.values() if len(names) > 1]


def _link_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Links by TLS, and round trips against heartbeat and election (rules 19, 87, 95)."""
    for link in evidence.links:
        if link.why:
            yield Finding(
                "wrong", link.source, link.problem,
                "a half link stays hidden until a leader changes", "`etcdup certs list` shows both certificates",
                (19, 95), code="link-broken",
            )  # fmt: skip
    yield from _untried_link_findings(spec, evidence)
    yield from _timing_findings(spec, evidence)
    yield from _unequal_setting_findings(evidence)


def _timing_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """The slowest way between two hosts, against the shortest timeouts that run."""
    closer = evidence.inspections.values()
    slowest = max((ms for each in closer for ms in each.round_trips_ms.values()), default=0.0)
    heartbeat = _shortest_timeout(evidence, "heartbeat-interval", spec.etcd.heartbeat_ms)
    election = _shortest_timeout(evidence, "election-timeout", spec.etcd.election_ms)
    if slowest > heartbeat * 1.5 or slowest * 10 > election:
        better = max(heartbeat, round(slowest / 10 + 0.5) * 10)
        yield Finding(
            "advice", "", f"the slowest round trip between hosts takes {slowest:.1f} ms",
            f"with a heartbeat of {heartbeat} ms and an election after {election} ms, leaders change for nothing",
            f"heartbeat_ms: {better}, election_ms: {max(10 * better, election)}", (87,), code="timeouts-too-short",
        )  # fmt: skip


def _shortest_timeout(evidence: Evidence, flag: str, otherwise: int) -> int:
    running = (number_of(each.settings, flag, otherwise) for each in evidence.inspections.values())
    return min(running, default=otherwise)


def _unequal_setting_findings(evidence: Evidence) -> Iterator[Finding]:
    """What all members must have alike (rules 77, 87)."""
    for code, flag, why, rule in _EQUAL_SETTINGS:
        running: dict[int, list[str]] = {}
        for name, closer in evidence.inspections.items():
            if value := number_of(closer.settings, flag, 0):
                running.setdefault(value, []).append(name)
        if len(running) > 1:
            each = ", ".join(f"{value} on {' and '.join(names)}" for value, names in sorted(running.items()))
            what = f"members run with different {flag}: {each}"
            yield Finding("wrong", "", what, why, _MAKE_EQUAL_HINT, (rule,), code=code)


def _untried_link_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Links by TLS need a member that answers, and a host with the etcdctl and the certificate that etcdup gave it."""
    sources = [name for name in evidence.observed.reachable() if name not in evidence.observed.leaving]
    why = "a knock at a port does not show whether certificates are accepted in both directions"
    if spec.size == 1 or not sources:
        return
    if not evidence.observed.answering():
        what = "links between hosts by TLS were not tried: no member answers yet"
        fix = "run `check` again once the cluster is up; until then only the ports were tried"
        yield Finding("untried", "", what, why, fix, (19, 95), code="links-not-tried")
        return
    fixes = {
        "client": "on each: `etcdctl endpoint health` with the endpoints of the others and that host's certificate",
        "peer": "have the members' own certificates here, where `tls` in cluster.yaml says that they are",
    }
    reasons = {"client": "etcdup installed no etcd there", "peer": "their certificates are not here"}
    for port, fix in fixes.items():
        tried = {link.source for link in evidence.links if link.port == port}
        if missing := [name for name in sources if name not in tried]:
            what = f"links from {', '.join(missing)} to {port} ports by TLS were not tried: {reasons[port]}"
            yield Finding("untried", "", what, why, fix, (19, 95), code="links-not-tried")
