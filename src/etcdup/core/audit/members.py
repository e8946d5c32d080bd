"""Findings about the members: health, alarms, data, leader changes, known faults of their version."""

from collections.abc import Iterator, Sequence

from etcdup.core.audit.disk import fullness_findings
from etcdup.core.audit.findings import Evidence, Finding, LeaderChanges, Level, MemberHash, as_sentence
from etcdup.core.certs.user_access import gateway_problems, kubernetes_problems
from etcdup.core.members.limits import AUTH, describe_followers, limits
from etcdup.core.members.member_list import member_list_differences
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.observed.model import MemberSilent
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import Advisory, blocking_advisories, newest_patch, warning_advisories

# Rule 106 warns of 4 leader changes in 15 minutes. Over the whole life of a member, one in an hour is as serious.
_MANY_LEADERS, _OFTEN_S = 4, 3600
_UNCOMPARED = "If members have different data, clients read different values, and no other check shows it."
_RUN_AGAIN_HINT = "Run `etcdup check` again. A compaction or a member behind the leader is often the cause."


def members_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    yield from _member_findings(spec, evidence)
    yield from fullness_findings(spec, evidence)
    yield from _access_findings(evidence)
    yield from _hash_findings(spec, evidence)
    yield from _leader_findings(evidence)
    yield from _log_findings(evidence)
    yield from _version_findings(spec, evidence)


def _member_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    for name, seen in observed.members.items():
        host = observed.reachable().get(name)
        if isinstance(seen, MemberSilent):
            if host is not None and host.unit.is_running:
                yield Finding(
                    "wrong",
                    name,
                    as_sentence(f"{name} runs but does not answer: {seen.why}", name),
                    "The member may have no vote in the quorum now.",
                    as_sentence(seen.hint or f"Run `journalctl -u etcd` on {name} to find the cause"),
                    (11,),
                    code="member-silent",
                )
            continue
        if not seen.leader_id:
            why = "Without a leader, no write is possible."
            fix = "Run `etcdup status`. A majority of the members must run and reach each other."
            yield Finding("wrong", name, f"{name} reports no leader.", why, fix, (11,), code="no-leader")
    for name in observed.dissenting:
        why = "The member is behind the others, or it is not the member that it should be."
        fix = f"Run `etcdup check` again. If the list still differs, run `etcdup member replace {name}`."
        what = f"{name} reports another member list than the other members."
        yield Finding("wrong", name, what, why, fix, (107,), code="member-list-dissents")
    has_quorum = len(healthy(observed)) >= quorum_of(voter_count(observed) or spec.size)
    quorum = "The quorum is not lost. " if has_quorum else ""
    for limit in limits(spec, observed):
        what = f"{describe_followers(spec, observed)}; {limit.what}: {limit.why}."
        fix = as_sentence(limit.hint)
        if limit.kind == AUTH:
            why = f"{quorum}etcdup cannot change members or take backups."
            yield Finding("wrong", "", what, why, fix, (118,), code="access-denied")
        else:
            why = f"{quorum}The cluster refuses writes until the alarm is disarmed."
            yield Finding("wrong", "", what, why, fix, (70, 82), code="alarm-raised")
    for line in member_list_differences(spec, observed):
        why = "The member list of etcd differs from cluster.yaml."
        yield Finding(
            "advice",
            "",
            as_sentence(line, *evidence.observed.members, "member-"),
            why,
            "Run `etcdup plan`. It shows the steps that make the member list equal to cluster.yaml.",
            (107,),
            code="members-differ-from-file",
        )


def _access_findings(evidence: Evidence) -> Iterator[Finding]:
    """Report clients that do not work with the users of etcd. While these are not enabled, some are advice."""
    pki, roles = evidence.observed.pki, evidence.roles
    level: Level = "wrong" if evidence.auth else "advice"
    for each in gateway_problems(pki):
        yield Finding(level, "", each.what, each.why, each.fix, (118,), code="gateway-common-name")
    for each in kubernetes_problems(pki, roles) if evidence.auth else ():
        yield Finding("wrong", "", each.what, each.why, each.fix, (118,), code="kube-apiserver-without-root")


def is_comparable(hashes: Sequence[MemberHash]) -> bool:
    """Return whether all hashes were read and all members were compacted at the same revision (rule 81)."""
    return not any(each.why for each in hashes) and len({each.compacted for each in hashes}) < 2


def _hash_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Compare the hashes of members that were compacted at the same revision. Other hashes differ without a fault."""
    by_compaction: dict[int, dict[int, list[str]]] = {}
    for each in evidence.hashes:
        if each.why:
            what = f"The hash of the data of {each.member} could not be read: {each.why}."
            yield Finding(
                "untried", each.member, what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hash-not-read"
            )
        else:
            by_compaction.setdefault(each.compacted, {}).setdefault(each.value, []).append(each.member)
    for values in by_compaction.values():
        if len(values) > 1:
            groups = "; ".join(", ".join(names) for names in values.values())
            yield Finding(
                "wrong",
                "",
                f"The members have different data at the same revision: {groups}.",
                "Clients read different values, depending on the member that answers.",
                "Run `etcdup member replace NAME` for the member that differs from the majority.",
                (81,),
                code="data-differs",
            )
    if len(by_compaction) > 1:
        groups = "; ".join(
            f"{', '.join(name for names in values.values() for name in names)} at {revision}"
            for revision, values in sorted(by_compaction.items())
        )
        what = (
            f"The data was not compared, because the members were compacted at different revisions: {groups}."
        )
        yield Finding("untried", "", what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hashes-not-compared")
    if spec.size > 1 and len(names := list(evidence.observed.answering())) == 1:
        what = f"The data of the members was not compared: only {names[0]} answers."
        fix = "Run `etcdup status` to see why the other members do not answer. Then run `etcdup check` again."
        yield Finding("untried", "", what, _UNCOMPARED, fix, (81,), code="hashes-not-compared")


def _leader_findings(evidence: Evidence) -> Iterator[Finding]:
    """Report many leader changes. Each member counts from its own start, so the largest number is used."""
    unread: dict[str, list[str]] = {}
    for each in evidence.leaders:
        if each.why:
            unread.setdefault(each.why, []).append(each.member)
    for why, names in unread.items():
        what = f"The number of leader changes was not read from {', '.join(names)}: {why}."
        yield Finding(
            "untried",
            "",
            what,
            "Frequent leader changes show slow disks or a slow network.",
            "Run `etcdup check` again. On members that etcdup did not set up, first set `listen-metrics-urls` to "
            "`http://127.0.0.1:2381`.",
            (85, 106),
            code="leader-changes-not-read",
        )
    read = [each for each in evidence.leaders if not each.why]
    yield from _frequent_leader_findings(max(read, key=lambda each: each.changes, default=LeaderChanges("")))


def _frequent_leader_findings(seen: LeaderChanges) -> Iterator[Finding]:
    if seen.changes >= _MANY_LEADERS and seen.changes * _OFTEN_S > seen.seconds:
        since = f"in the {seen.seconds / 3600:.1f} hours since {seen.member} started"
        yield Finding(
            "advice",
            "",
            f"The leader changed {seen.changes} times {since}.",
            "Each change delays writes for the time of an election.",
            "Check the disks, the round-trip times and the CPU load of the members.",
            (87, 106),
            code="leader-changes-often",
        )


def _log_findings(evidence: Evidence) -> Iterator[Finding]:
    """Report members that could not start with 3.7 (rule 111)."""
    for each in evidence.logs:
        if each.why:
            yield Finding(
                "untried",
                each.member,
                f"The write-ahead log of {each.member} was not read: {each.why}.",
                "A log with requests of etcd 3.5 prevents the start of etcd 3.7.",
                "Run `etcdup check` again.",
                (111,),
                code="log-not-read",
            )
    if names := [each.member for each in evidence.logs if each.reads_v2]:
        yield Finding(
            "advice",
            "",
            f"etcd 3.7 would not start on {', '.join(names)}: the log has requests of etcd 3.5 or older after the "
            "newest raft snapshot.",
            "etcd 3.7 panics when it reads these requests.",
            "Use `etcdup apply` for the upgrade to 3.7: it first makes a new raft snapshot on every member.",
            (111,),
            code="log-prevents-upgrade",
        )


def _version_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    running: dict[str, list[str]] = {}
    for name, seen in evidence.observed.answering().items():
        running.setdefault(str(seen.version), []).append(name)
    versions = {seen.version for seen in evidence.observed.answering().values()} or {spec.version}
    for version in sorted(versions):
        names = running.get(str(version), [])
        who = f"{', '.join(names)} {'run' if len(names) > 1 else 'runs'}" if names else "cluster.yaml has"
        for fault in blocking_advisories(version, members=spec.size):
            what = as_sentence(f"{who} etcd {version}: {fault.problem}", *evidence.observed.members)
            yield Finding(
                "wrong",
                "",
                what,
                "Data can be lost.",
                _advisory_fix(fault, version),
                code="version-loses-data",
            )
        for fault in warning_advisories(version, members=spec.size):
            what = as_sentence(f"{who} etcd {version}: {fault.problem}", *evidence.observed.members)
            yield Finding(
                "advice",
                "",
                what,
                "This is a known fault of this version.",
                _advisory_fix(fault, version),
                code="version-known-fault",
            )


def _advisory_fix(fault: Advisory, version: Version) -> str:
    newest = newest_patch(version)
    if fault.affects(newest):
        return as_sentence(fault.remedy)
    return f"Set `version: {newest}` in cluster.yaml, then run `etcdup apply` ({fault.remedy})."
