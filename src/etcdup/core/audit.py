"""The whole audit: findings out of what was seen. Pure; the same evidence gives the same findings."""

from collections.abc import Iterator, Mapping

from etcdup.core.advisories import Advisory, newest_patch, refusals, warnings_for
from etcdup.core.audit_host import certificate_findings, clock_findings, host_findings
from etcdup.core.audit_settings import settings_findings
from etcdup.core.findings import LEVELS, Evidence, Finding
from etcdup.core.observed import MemberSilent
from etcdup.core.roster import differences
from etcdup.core.spec import Spec
from etcdup.core.units import show_size
from etcdup.core.version import Version

_NEARLY_FULL = 0.8  # rule 107
# Rule 106 warns of four in fifteen minutes; over a member's whole life, one in an hour is as telling.
_MANY_LEADERS, _OFTEN_S = 4, 3600
_ALARM_FIXES = {
    "NOSPACE": "delete what is not needed; `etcdup ctl -- compaction REVISION` (`endpoint status -w json` tells the "
    "newest); `etcdup ctl --endpoint MEMBER -- defrag`, one member after the other; then `etcdup ctl -- alarm disarm`",
    "CORRUPT": "find the member whose data differs from the majority's, `etcdup member replace` it, then "
    "`etcdup ctl -- alarm disarm`",
}


def audit(spec: Spec, evidence: Evidence) -> tuple[Finding, ...]:
    """Every finding, those about the whole cluster first, then host by host; the gravest first in each."""
    found = dict.fromkeys(_all(spec, evidence))
    places = ["", *(host.name for host in spec.hosts)]
    order = {name: number for number, name in enumerate(places)}
    return tuple(sorted(found, key=lambda each: (order.get(each.host, len(order)), LEVELS.index(each.level))))


def _all(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    yield from _unseen(evidence)
    yield from clock_findings(observed)
    for host in spec.hosts:
        if host.name in observed.reachable():
            yield from host_findings(spec, host, evidence)
    for closer in evidence.closer.values():
        found = settings_findings(closer)
        # A member without systemd is a plain process of whoever set it up: 1.1.12 asks for a user that it cannot have.
        yield from (each for each in found if not (each.cis == "1.1.12" and spec.host(closer.host).root))
    yield from certificate_findings(evidence)
    yield from _twins(spec, evidence)
    yield from _shared_keys(evidence)
    yield from _between(spec, evidence)
    yield from _members(spec, evidence)
    yield from _hashes(evidence)
    yield from _leaders(evidence)
    yield from _versions(spec, evidence)


def _unseen(evidence: Evidence) -> Iterator[Finding]:
    for gone in evidence.observed.unreachable().values():
        yield Finding(
            "wrong", gone.host, f"{gone.host} cannot be reached: {gone.why}",
            "nothing can be said of it, nor done for it; that is not to say that it is down",
            gone.hint or "see whether the machine is up, and SSH answers", (62,),
        )  # fmt: skip
    for name, why in evidence.untold.items():
        yield Finding(
            "untried", name, f"{name} could not be looked at closely: {why}", "", "run `check` again"
        )
    for name, closer in evidence.closer.items():
        if closer.knocks and not any(knock.tool for knock in closer.knocks):
            yield Finding(
                "untried", name, f"whether {name} reaches the others' ports: it has no bash to try with",
                "a firewall in between shows only when etcd starts", "install bash, or try each port by hand", (95,),
            )  # fmt: skip


def _twins(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Cloned machines (rule 96). Local members share one machine on purpose."""
    own = {host.name for host in spec.hosts if not (host.root or host.local)}
    seen = {name: host for name, host in evidence.observed.reachable().items() if name in own}
    for what, values in (
        ("machine-id", {name: host.machine_id for name, host in seen.items()}),
        ("hostname", {name: host.hostname for name, host in seen.items()}),
    ):
        for names in _same(values):
            yield Finding(
                "wrong", "", f"{' and '.join(names)} have the same {what}",
                "they were cloned: DHCP, journals and whoever counts machines take them for one",
                "give each its own" + (": `rm /etc/machine-id; systemd-machine-id-setup`" if "id" in what else ""),
                (96,),
            )  # fmt: skip


def _shared_keys(evidence: Evidence) -> Iterator[Finding]:
    for flag in ("key-file", "peer-key-file"):
        sums = {}
        for name, closer in evidence.closer.items():
            key = closer.rights.get(closer.settings.get(flag, ""))
            if key is not None and key.sha256:
                sums[name] = key.sha256
        for names in _same(sums):
            yield Finding(
                "advice", "", f"{', '.join(names)} share one key ({flag})",
                "who takes it from one host can pose as all of them", "issue each member a pair of its own",
                (20,),
            )  # fmt: skip


def _same(values: Mapping[str, str]) -> list[list[str]]:
    by_value: dict[str, list[str]] = {}
    for name, value in values.items():
        by_value.setdefault(value, []).append(name)
    return [names for names in by_value.values() if len(names) > 1]


def _between(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Links by TLS, and round trips against heartbeat and election (rules 19, 87, 95)."""
    for link in evidence.links:
        if link.why:
            yield Finding(
                "wrong", link.source, link.said,
                "a half link stays hidden until a leader changes", "`etcdup certs list` shows both certificates",
                (19, 95),
            )  # fmt: skip
    yield from _untried_links(spec, evidence)
    slowest = max(
        (ms for each in evidence.closer.values() for ms in each.round_trips_ms.values()), default=0.0
    )
    if slowest > spec.etcd.heartbeat_ms * 1.5 or slowest * 10 > spec.etcd.election_ms:
        heartbeat = max(spec.etcd.heartbeat_ms, round(slowest / 10 + 0.5) * 10)
        yield Finding(
            "advice", "", f"the slowest round trip between hosts takes {slowest:.1f} ms",
            "with timeouts this short, leaders change for nothing",
            f"heartbeat_ms: {heartbeat}, election_ms: {max(10 * heartbeat, spec.etcd.election_ms)}", (87,),
        )  # fmt: skip
    for flag in ("heartbeat-interval", "election-timeout"):
        running = {c.settings.get(flag, "its default") for c in evidence.closer.values() if c.settings}
        if len(running) > 1:
            what = f"members run with different {flag}: {', '.join(sorted(running))}"
            why = "some ask for an election while others still wait"
            yield Finding("wrong", "", what, why, "`etcdup apply` makes them one", (87,))


def _untried_links(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Links by TLS need a member that answers, and a host with the etcdctl and the certificate that etcdup gave it."""
    sources = [name for name in evidence.observed.reachable() if name not in evidence.observed.leaving]
    why = "a knock at a port does not show whether certificates are accepted in both directions"
    if spec.size == 1 or not sources:
        return
    if not evidence.observed.answering():
        what = "links between hosts by TLS were not tried: no member answers yet"
        fix = "run `check` again once the cluster is up; until then only the ports were tried"
        yield Finding("untried", "", what, why, fix, (19, 95))
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
            yield Finding("untried", "", what, why, fix, (19, 95))


def _members(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    for name, seen in observed.members.items():
        host = observed.reachable().get(name)
        if isinstance(seen, MemberSilent):
            if host is not None and host.unit.is_running:
                yield Finding(
                    "wrong", name, f"{name} runs but does not answer: {seen.why}", "it may be no help to the quorum",
                    seen.hint or f"`journalctl -u etcd` on {name} says more", (11,),
                )  # fmt: skip
            continue
        if not seen.leader_id:
            why, fix = "without a leader nothing can be written", "see what is wrong with the other members"
            yield Finding("wrong", name, f"{name} knows no leader", why, fix, (11,))
        if seen.db_size > _NEARLY_FULL * spec.etcd.quota:
            yield Finding(
                "advice", name, f"its database has {show_size(seen.db_size)} of {show_size(spec.etcd.quota)}",
                "a full one takes no more writes", "compact and defragment, or raise `quota`", (107,),
            )  # fmt: skip
    for alarm in sorted({alarm for seen in observed.answering().values() for alarm in seen.alarms}):
        why = "the cluster refuses writes"
        fix = next((fix for kind, fix in _ALARM_FIXES.items() if kind in alarm), "`etcdup ctl -- alarm list`")
        yield Finding("wrong", "", f"alarm: {alarm}", why, fix, (70, 82))
    for line in differences(spec, observed):
        why = "cluster.yaml and the cluster do not agree on who is in it"
        yield Finding("advice", "", line, why, "`etcdup plan` shows what would be done", (107,))


def _hashes(evidence: Evidence) -> Iterator[Finding]:
    """Only what was compacted at the same revision can be compared."""
    by_compaction: dict[int, dict[int, list[str]]] = {}
    for each in evidence.hashes:
        if each.why:
            why = "members' data cannot be compared without it"
            yield Finding(
                "untried", each.member, f"the hash of {each.member}'s data: {each.why}", why, "again", (81,)
            )
        else:
            by_compaction.setdefault(each.compacted, {}).setdefault(each.value, []).append(each.member)
    for values in by_compaction.values():
        if len(values) > 1:
            groups = " against ".join(", ".join(names) for names in values.values())
            yield Finding(
                "wrong", "", f"members hold different data at the same revision: {groups}",
                "clients read one thing here and another there",
                "replace the member that differs from the majority: `etcdup member replace NAME`", (81,),
            )  # fmt: skip


def _leaders(evidence: Evidence) -> Iterator[Finding]:
    """The member that counts most speaks for all: each counts from its own start."""
    for seen in sorted(evidence.leaders, key=lambda each: -each.changes)[:1]:
        if seen.changes >= _MANY_LEADERS and seen.changes * _OFTEN_S > seen.seconds:
            since = f"in the {seen.seconds / 3600:.1f} hours since {seen.member} started"
            yield Finding(
                "advice", "", f"the leader changed {seen.changes} times {since}",
                "each change holds writes up for an election", "look at disks, round trips and CPU of the members",
                (87, 106),
            )  # fmt: skip


def _versions(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    running: dict[str, list[str]] = {}
    for name, seen in evidence.observed.answering().items():
        running.setdefault(str(seen.version), []).append(name)
    versions = {seen.version for seen in evidence.observed.answering().values()} or {spec.version}
    for version in sorted(versions):
        who = f"{', '.join(running[str(version)])} run" if str(version) in running else "cluster.yaml wants"
        for fault in refusals(version, members=spec.size):
            what = f"{who} etcd {version}: {fault.problem}"
            yield Finding("wrong", "", what, "data can be lost", _way_out(fault, version))
        for fault in warnings_for(version, members=spec.size):
            what = f"{who} etcd {version}: {fault.problem}"
            yield Finding("advice", "", what, "a known fault of this version", _way_out(fault, version))


def _way_out(fault: Advisory, version: Version) -> str:
    newest = newest_patch(version)
    return fault.remedy if fault.affects(newest) else f"`version: {newest}` ({fault.remedy})"
