"""Advisories: versions of etcd that can lose data, break an operation or have a vulnerability.

The sources are etcd's changelogs (https://github.com/etcd-io/etcd/tree/main/CHANGELOG), its post-mortem of 3.5
(https://github.com/etcd-io/etcd/blob/main/Documentation/postmortems/v3.5-data-inconsistency.md), its blog and its
security advisories (https://github.com/etcd-io/etcd/security/advisories). Only minors that etcdup supports (3.4 and
later) are listed.

One known issue is not listed: 3.5.30 and 3.6.11 allow `member add` while a voter is down (rule 28). That is no reason
to avoid these versions, because `membership_guards.py` forbids it for all versions.
"""

from dataclasses import dataclass
from typing import Literal

from etcdup.core.spec.version import NEWEST, Version

# The operation or feature that the advisory is about.
Scope = Literal[
    "always",
    "single-member",  # clusters of one member
    "learner-ops",  # adding and promoting members
    "member-update",  # changing the peer URLs of a member
    "defrag",
    "force-new-cluster",
    "source-for-3.6",  # an upgrade from this version to 3.6
    "source-for-3.7",  # an upgrade from this version to 3.7
    "rbac",  # etcd's users and roles
    "crl",  # certificate revocation lists
    "tracing",
    "txn-at-revision",  # transactions of clients that read at an older revision
]
Series = tuple[int, int]


@dataclass(frozen=True)
class Affected:
    """The releases of one minor from patch `first` to before patch `fixed`. `fixed` is None if there is no fix."""

    series: Series
    fixed: int | None
    first: int = 0

    def __contains__(self, version: Version) -> bool:
        is_fixed = self.fixed is not None and version.patch >= self.fixed
        return version.series == self.series and version.patch >= self.first and not is_fixed


@dataclass(frozen=True)
class Advisory:
    """One known fault: which versions have it, what happens, and whether etcdup refuses these versions or warns."""

    problem: str
    affected: tuple[Affected, ...]
    action: Literal["refuse", "warn"]
    source: str
    scope: Scope = "always"
    # True if a distribution may have fixed the fault without a new version number. False if the fault is in the data
    # that an old release has already written, because no patch can fix that.
    may_be_patched: bool = True

    def affects(self, version: Version) -> bool:
        """Return True if this version has the fault."""
        return any(version in affected for affected in self.affected)

    @property
    def fixed_in(self) -> tuple[Version, ...]:
        """Return the first fixed release of each minor that has one, oldest first."""
        fixes = (Version(*each.series, each.fixed) for each in self.affected if each.fixed is not None)
        return tuple(sorted(fixes))

    @property
    def remedy(self) -> str:
        """Return which version to use instead, as an instruction."""
        if not self.fixed_in:
            return f"use {NEWEST[max(NEWEST)]}, or another version of a supported minor"
        return f"use a version with the fix: {self.fixes}"

    @property
    def fixes(self) -> str:
        """Return the versions that have the fix, and the source."""
        return f"{', '.join(map(str, self.fixed_in))}; see {self.source}"


_3_5, _3_7 = (3, 5), (3, 7)


def _below(*fixes: str) -> tuple[Affected, ...]:
    """Return the affected releases: `3.5.7` means 3.5 before 3.5.7, `3.4.x` means all of 3.4, without a fix."""
    parts = [fix.split(".") for fix in fixes]
    return tuple(
        Affected((int(major), int(minor)), None if patch == "x" else int(patch))
        for major, minor, patch in parts
    )


FAULTS = (
    Advisory(
        "the index and the write-ahead log can differ after a crash; a defrag can corrupt the data",
        _below("3.4.8"),
        "refuse",
        "CHANGELOG-3.4, 3.4.4 and 3.4.8",
    ),
    Advisory(
        "the data of members can silently differ after a crash",
        _below("3.5.3"),
        "refuse",
        "etcd's post-mortem of the 3.5 data inconsistency",
    ),
    Advisory(
        "etcd panics at start if users and roles are used",
        (Affected(_3_5, fixed=4, first=3),),
        "refuse",
        "CHANGELOG-3.5, 3.5.4",
        "rbac",
    ),
    Advisory(
        "a cluster of one member can lose acknowledged writes at a power failure",
        _below("3.5.5"),
        "refuse",
        "CHANGELOG-3.5, 3.5.5",
        "single-member",
    ),
    Advisory(
        "the data of members can differ after a recovery with users and roles, or if etcd is killed during a defrag",
        _below("3.4.22", "3.5.6"),
        "refuse",
        "CHANGELOG-3.4, 3.4.22; CHANGELOG-3.5, 3.5.6",
    ),
    Advisory(
        "a learner that was never started can be promoted, and the cluster can then lose its quorum",
        _below("3.4.24", "3.5.7"),
        "refuse",
        "CHANGELOG-3.4, 3.4.24; CHANGELOG-3.5, 3.5.7",
        "learner-ops",
    ),
    Advisory(
        "watches can deliver old events after a member received a snapshot from the leader",
        _below("3.4.25", "3.5.8"),
        "warn",
        "CHANGELOG-3.4, 3.4.25; CHANGELOG-3.5, 3.5.8",
    ),
    Advisory(
        "watches can miss events after a compaction, and an old leader can revoke leases",
        _below("3.5.13"),
        "warn",
        "CHANGELOG-3.5, 3.5.13",
    ),
    Advisory(
        "the revision can decrease after a panic during a compaction",
        _below("3.4.32", "3.5.14"),
        "refuse",
        "CHANGELOG-3.4, 3.4.32; CHANGELOG-3.5, 3.5.14",
    ),
    Advisory(
        "a transaction that fails can be applied in part",
        _below("3.4.35", "3.5.17"),
        "refuse",
        "CHANGELOG-3.4, 3.4.35; CHANGELOG-3.5, 3.5.17",
    ),
    Advisory(
        "promoted and removed members are stored incorrectly, which breaks the upgrade to 3.6",  # rule 44
        _below("3.5.32"),
        "refuse",
        "etcd's upgrade guide for 3.6",
        "source-for-3.6",
        may_be_patched=False,
    ),
    Advisory(
        "members of this version can be incompatible with members of 3.7",
        (Affected((3, 6), fixed=11),),
        "refuse",
        "etcd's upgrade guide for 3.7",
        "source-for-3.7",
        may_be_patched=False,
    ),
    Advisory(
        # Rule 111. 3.7.3 still has it.
        "a member panics at the start with 3.7 if its log has requests of 3.5 or older after its newest raft snapshot",
        _below("3.6.x"),
        "warn",
        "etcd's server/etcdserver/apply/apply.go in 3.7",
        "source-for-3.7",
        may_be_patched=False,
    ),
    Advisory(
        "force-new-cluster does not remove all old members and learners",
        _below("3.4.x", "3.5.25", "3.6.6"),
        "refuse",
        "CHANGELOG-3.5, 3.5.22 and 3.5.25; CHANGELOG-3.6, 3.6.1 and 3.6.6",  # rule 66
        "force-new-cluster",
    ),
    Advisory(
        "a defrag while a member receives a snapshot from the leader can corrupt the data",
        _below("3.4.38", "3.5.23", "3.6.5"),
        "refuse",
        "CHANGELOG-3.4, 3.4.38; CHANGELOG-3.5, 3.5.23; CHANGELOG-3.6, 3.6.5",  # rule 75
        "defrag",
    ),
    Advisory(
        "a member can fail to start after a learner was promoted",
        _below("3.6.4"),
        "refuse",
        "CHANGELOG-3.6, 3.6.3 and 3.6.4",
    ),
    Advisory(
        "reads can be stale after a process was paused or the leader changed",
        _below("3.5.28", "3.6.9"),
        "warn",
        "CHANGELOG-3.5, 3.5.28; CHANGELOG-3.6, 3.6.9",
    ),
    Advisory(
        "a change of a learner's peer URL promotes the learner",  # rule 23
        _below("3.4.x", "3.5.31", "3.6.12"),
        "refuse",
        "CHANGELOG-3.5, 3.5.31; CHANGELOG-3.6, 3.6.12",
        "member-update",
    ),
    Advisory(
        # https://github.com/etcd-io/etcd/issues/18667
        "the data of members can differ after a transaction that reads at an older revision",
        (*_below("3.4.x", "3.5.x", "3.6.x"), Affected(_3_7, fixed=0)),
        "warn",
        "CHANGELOG-3.7, 3.7.0 (etcd issue 18667)",
        "txn-at-revision",
    ),
    Advisory(
        "etcd 3.4 is end of life: no more fixes, including security fixes",
        _below("3.4.x"),
        "warn",
        "etcd's blog, June 2026",
    ),
)

VULNERABILITIES = (
    Advisory(
        "each host that can connect to the ports can exhaust the memory by TLS handshakes (CVE-2026-73500)",
        _below("3.4.x", "3.5.33", "3.6.14", "3.7.1"),
        "warn",
        "GHSA-6vch-q96h-7gc3",
    ),
    Advisory(
        "a user with permission for one key can watch all keys after it",
        _below("3.4.x", "3.5.33", "3.6.14", "3.7.1"),
        "warn",
        "GHSA-xg4h-6gfc-h4m8",
        "rbac",
    ),
    Advisory(
        "gRPC accepts revoked certificates if listen-client-http-urls is set",
        (*_below("3.4.x", "3.5.32", "3.6.13"), Affected(_3_7, fixed=0)),
        "warn",
        "GHSA-3wh4-j44w-pg92",
        "crl",
    ),
    Advisory(
        "users can bypass their permissions with puts in transactions (CVE-2026-44283)",
        _below("3.4.44", "3.5.30", "3.6.11"),
        "warn",
        "GHSA-x35m-3gp4-4fh5",
        "rbac",
    ),
    Advisory(
        "member list, alarms, leases and compaction need no permission (CVE-2026-33413)",
        _below("3.4.42", "3.5.28", "3.6.9"),
        "warn",
        "GHSA-q8m4-xhhv-38mg",
        "rbac",
    ),
    Advisory(
        "users can bypass their permissions with nested transactions (CVE-2026-33343)",
        _below("3.4.42", "3.5.28", "3.6.9"),
        "warn",
        "GHSA-rfx7-8w68-q57q",
        "rbac",
    ),
    Advisory(
        "the library grpc-go of etcd has a vulnerability (CVE-2026-33186)",
        _below("3.4.42", "3.5.28", "3.6.9"),
        "warn",
        "CVE-2026-33186",
    ),
    Advisory(
        "etcd writes the authentication tokens of users to its log",
        _below("3.4.40", "3.5.26", "3.6.7"),
        "warn",
        "CHANGELOG-3.5, 3.5.26",
        "rbac",
    ),
    Advisory(
        "LeaseTimeToLive returns key names to users without permission (CVE-2023-32082)",
        _below("3.4.26", "3.5.9"),
        "warn",
        "CVE-2023-32082",
        "rbac",
    ),
    Advisory(
        "the debug endpoints can show passwords (CVE-2021-28235)",
        _below("3.4.25", "3.5.8"),
        "warn",
        "CVE-2021-28235",
        "rbac",
    ),
    Advisory(
        "clients can exhaust the memory through tracing (CVE-2023-47108)",
        _below("3.5.11"),
        "warn",
        "CVE-2023-47108",
        "tracing",
    ),
    Advisory(
        "HTTP/2 clients can overload etcd by rapid resets (CVE-2023-44487)",
        _below("3.4.28", "3.5.10"),
        "warn",
        "CVE-2023-44487",
    ),
    Advisory(
        "a corrupt write-ahead log or a crafted request makes etcd panic (CVE-2020-15106, -15112, -15113)",
        _below("3.4.10"),
        "warn",
        "CVE-2020-15106",
    ),
)
