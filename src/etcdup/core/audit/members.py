"""Findings about the members: data, leader changes, known faults of their version."""

from collections.abc import Iterator, Sequence

from etcdup.core.audit.disk import fullness_findings
from etcdup.core.audit.findings import Evidence, Finding, LeaderChanges, Level, as_sentence
from etcdup.core.audit.growth import growth_findings
from etcdup.core.audit.hashes import by_compaction, repair_hint
from etcdup.core.certs.user_access import gateway_problems, kubernetes_problems
from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.members.limits import active_alarms
from etcdup.core.members.member_list import member_list
from etcdup.core.members.quorum import quorum_of, voter_count
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import Advisory, blocking_advisories, newest_patch, warning_advisories

# Rule 106 warns of 4 leader changes in 15 minutes. Over the whole life of a member, one in an hour is as serious.
_MANY_LEADERS, _OFTEN_S = 4, 3600
# A compaction of the whole history takes its time, and an idle cluster makes few revisions.
_COMPACTION_MARGIN_S, _MUCH_HISTORY = 3600, 10_000
_UNCOMPARED = "If members have different data, clients read different values, and no other check shows it."
_RUN_AGAIN_HINT = "Run `etcdup check` again. A compaction or a member behind the leader is often the cause."


def members_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    yield from fullness_findings(spec, evidence)
    yield from growth_findings(spec, evidence)
    yield from _access_findings(spec, evidence)
    yield from _alarm_findings(evidence)
    yield from _compaction_findings(spec, evidence)
    yield from _hash_findings(spec, evidence)
    yield from _leader_findings(evidence)
    yield from _log_findings(evidence)
    yield from _version_findings(spec, evidence)


def _access_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report clients that do not work with the users of etcd. While these are not enabled, some are advice."""
    pki, roles = evidence.observed.pki, evidence.roles
    if spec.etcd.access is not None and roles and not evidence.auth:
        yield Finding(
            "advice",
            "",
            "`etcd.access` is not used, because authentication (`auth`) is not enabled.",
            "Each client with a certificate can read and write all keys.",
            "Run `etcdup ctl -- auth enable`, which warns of each client that etcd would refuse. Or remove `access`.",
            (118,),
            code="access-not-used",
        )
    level: Level = "wrong" if evidence.auth else "advice"
    for each in gateway_problems(pki):
        yield Finding(level, "", each.what, each.why, each.fix, (118,), code="gateway-common-name")
    for each in kubernetes_problems(pki, roles) if evidence.auth else ():
        yield Finding("wrong", "", each.what, each.why, each.fix, (118,), code="kube-apiserver-without-root")


def _alarm_findings(evidence: Evidence) -> Iterator[Finding]:
    """Report alarms of members that are not in the member list (rule 70). They stay until they are disarmed."""
    observed = evidence.observed
    known = {member.member_id for member in member_list(observed)}
    for kind, ident in sorted(active_alarms(observed)) if known else ():
        if ident and ident not in known:
            yield Finding(
                "wrong",
                "",
                f"The alarm {kind} is of member {ident:x}, which is not in the member list.",
                "The alarm stays until it is disarmed. No member can end it.",
                "Run `etcdup maintain fix-space`, which disarms NOSPACE if all databases are below their quota."
                if kind == NOSPACE
                else "Run `etcdup maintain repair NAME` with any member. It disarms CORRUPT if all data is the same.",
                (70, 82),
                code="alarm-of-unknown-member",
            )


def _compaction_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Report a history that grows without compactions (rule 76). An idle cluster has nothing to compact."""
    retention = spec.etcd.auto_compaction
    if not isinstance(retention, int) or not retention:
        return  # A number of revisions to keep is no limit of time.
    limit_s = 2 * retention + _COMPACTION_MARGIN_S
    history = {
        each.member: evidence.observed.answering()[each.member].revision - each.compacted
        for each in evidence.hashes
        if not each.why and each.member in evidence.observed.answering()
    }
    late = {
        each.member: each.compacted_s
        for each in evidence.leaders
        if each.compacted_s is not None and each.compacted_s > limit_s
    }
    names = [name for name in late if history.get(name, 0) > _MUCH_HISTORY]
    if names:
        hours = min(late[name] for name in names) / 3600
        yield Finding(
            "wrong",
            "",
            f"The history is not compacted: {', '.join(names)} did no compaction in the last {hours:.0f} hours.",
            "The history grows until the database reaches its quota, and then the cluster refuses writes.",
            "Run `etcdup ctl -- compaction REVISION`. If compactions are still missing, check "
            "`auto-compaction-retention` of the running members.",
            (76,),
            code="compaction-missing",
        )


def _repair_hint(groups: Sequence[Sequence[str]], evidence: Evidence) -> str:
    right = max(groups, key=len)
    odd = [name for names in groups if names is not right for name in names]
    is_majority = len(right) >= quorum_of(voter_count(evidence.observed))
    return as_sentence(repair_hint(right if is_majority else (), odd))


def _hash_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Compare the hashes of members that were compacted at the same revision. Other hashes differ without a fault."""
    for each in evidence.hashes:
        if each.why:
            what = f"The hash of the data of {each.member} could not be read: {each.why}."
            yield Finding(
                "untried", each.member, what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hash-not-read"
            )
    compactions = by_compaction(evidence.hashes)
    for values in compactions.values():
        if len(values) > 1:
            groups = "; ".join(", ".join(names) for names in values.values())
            yield Finding(
                "wrong",
                "",
                f"The members have different data at the same revision: {groups}.",
                "Clients read different values, depending on the member that answers.",
                _repair_hint(list(values.values()), evidence),
                (81,),
                code="data-differs",
            )
    if len(compactions) > 1:
        groups = "; ".join(
            f"{', '.join(name for names in values.values() for name in names)} at {revision}"
            for revision, values in sorted(compactions.items())
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
    return f"Set `version: {newest}` in cluster.yaml, then run `etcdup apply` (fixed in {fault.fixes})."
