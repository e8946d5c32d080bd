"""The members, judged by what they answer: health, alarms, data, leader changes, known faults of their version."""

from collections.abc import Iterator, Sequence

from etcdup.core.audit.disk import fullness_findings
from etcdup.core.audit.findings import Evidence, Finding, LeaderChanges, MemberHash
from etcdup.core.members.member_list import member_list_differences
from etcdup.core.observed.model import MemberSilent
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import Advisory, blocking_advisories, newest_patch, warning_advisories

# Rule 106 warns of four in fifteen minutes; over a member's whole life, one in an hour is as telling.
_MANY_LEADERS, _OFTEN_S = 4, 3600
_UNCOMPARED = "members whose data differ serve one thing here and another there, and nothing else shows it"
_RUN_AGAIN_HINT = "run `check` again; a compaction, or a member that lags, is over in a moment"
_ALARM_FIXES = {
    "NOSPACE": "delete what is not needed; `etcdup ctl -- compaction REVISION` (`endpoint status -w json` tells the "
    "newest); `etcdup ctl --endpoint MEMBER -- defrag`, one member after the other; then `etcdup ctl -- alarm disarm`",
    "CORRUPT": "find the member whose data differs from the majority's, `etcdup member replace` it, then "
    "`etcdup ctl -- alarm disarm`",
}


def members_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    yield from _member_findings(spec, evidence)
    yield from fullness_findings(spec, evidence)
    yield from _hash_findings(spec, evidence)
    yield from _leader_findings(evidence)
    yield from _version_findings(spec, evidence)


def _member_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    observed = evidence.observed
    for name, seen in observed.members.items():
        host = observed.reachable().get(name)
        if isinstance(seen, MemberSilent):
            if host is not None and host.unit.is_running:
                yield Finding(
                    "wrong", name, f"{name} runs but does not answer: {seen.why}", "it may be no help to the quorum",
                    seen.hint or f"`journalctl -u etcd` on {name} says more", (11,), code="member-silent",
                )  # fmt: skip
            continue
        if not seen.leader_id:
            why, fix = "without a leader nothing can be written", "see what is wrong with the other members"
            yield Finding("wrong", name, f"{name} knows no leader", why, fix, (11,), code="no-leader")
    for alarm in sorted({alarm for seen in observed.answering().values() for alarm in seen.alarms}):
        why = "the cluster refuses writes"
        fix = next((fix for kind, fix in _ALARM_FIXES.items() if kind in alarm), "`etcdup ctl -- alarm list`")
        yield Finding("wrong", "", f"alarm: {alarm}", why, fix, (70, 82), code="alarm-raised")
    for line in member_list_differences(spec, observed):
        why = "cluster.yaml and the cluster do not agree on who is in it"
        yield Finding(
            "advice",
            "",
            line,
            why,
            "`etcdup plan` shows what would be done",
            (107,),
            code="members-differ-from-file",
        )


def is_comparable(hashes: Sequence[MemberHash]) -> bool:
    """All told, and compacted at the same revision: only then does a difference mean anything (rule 81)."""
    return not any(each.why for each in hashes) and len({each.compacted for each in hashes}) < 2


def _hash_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Only what was compacted at the same revision can be compared."""
    by_compaction: dict[int, dict[int, list[str]]] = {}
    for each in evidence.hashes:
        if each.why:
            what = f"the hash of {each.member}'s data: {each.why}"
            yield Finding(
                "untried", each.member, what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hash-not-read"
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
                code="data-differs",
            )  # fmt: skip
    if len(by_compaction) > 1:
        groups = "; ".join(
            f"{', '.join(name for names in values.values() for name in names)} at {revision}"
            for revision, values in sorted(by_compaction.items())
        )
        what = f"data that was compacted at different revisions was not compared: {groups}"
        yield Finding("untried", "", what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hashes-not-compared")
    if spec.size > 1 and len(names := list(evidence.observed.answering())) == 1:
        what = f"members' data were not compared: {names[0]} alone answers"
        yield Finding("untried", "", what, _UNCOMPARED, _RUN_AGAIN_HINT, (81,), code="hashes-not-compared")


def _leader_findings(evidence: Evidence) -> Iterator[Finding]:
    """The member that counts most speaks for all: each counts from its own start."""
    untold: dict[str, list[str]] = {}
    for each in evidence.leaders:
        if each.why:
            untold.setdefault(each.why, []).append(each.member)
    for why, names in untold.items():
        what = f"how often the leader changed was not asked of {', '.join(names)}: {why}"
        yield Finding(
            "untried", "", what, "changes that nobody sees tell of slow disks and networks",
            "give them listen-metrics-urls=http://127.0.0.1:2381, as members that etcdup set up have it", (85, 106),
            code="leader-changes-not-read",
        )  # fmt: skip
    told = [each for each in evidence.leaders if not each.why]
    yield from _frequent_leader_findings(max(told, key=lambda each: each.changes, default=LeaderChanges("")))


def _frequent_leader_findings(seen: LeaderChanges) -> Iterator[Finding]:
    if seen.changes >= _MANY_LEADERS and seen.changes * _OFTEN_S > seen.seconds:
        since = f"in the {seen.seconds / 3600:.1f} hours since {seen.member} started"
        yield Finding(
            "advice", "", f"the leader changed {seen.changes} times {since}",
            "each change holds writes up for an election", "look at disks, round trips and CPU of the members",
            (87, 106), code="leader-changes-often",
        )  # fmt: skip


def _version_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    running: dict[str, list[str]] = {}
    for name, seen in evidence.observed.answering().items():
        running.setdefault(str(seen.version), []).append(name)
    versions = {seen.version for seen in evidence.observed.answering().values()} or {spec.version}
    for version in sorted(versions):
        who = f"{', '.join(running[str(version)])} run" if str(version) in running else "cluster.yaml wants"
        for fault in blocking_advisories(version, members=spec.size):
            what = f"{who} etcd {version}: {fault.problem}"
            yield Finding(
                "wrong",
                "",
                what,
                "data can be lost",
                _advisory_fix(fault, version),
                code="version-loses-data",
            )
        for fault in warning_advisories(version, members=spec.size):
            what = f"{who} etcd {version}: {fault.problem}"
            yield Finding(
                "advice",
                "",
                what,
                "a known fault of this version",
                _advisory_fix(fault, version),
                code="version-known-fault",
            )


def _advisory_fix(fault: Advisory, version: Version) -> str:
    newest = newest_patch(version)
    return fault.remedy if fault.affects(newest) else f"`version: {newest}` ({fault.remedy})"
