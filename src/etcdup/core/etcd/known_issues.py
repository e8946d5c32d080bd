"""Which versions of etcd lose data, break an operation or have a hole: the rulebook's tables, as data.

Sources are etcd's changelogs, its post-mortem of 3.5, its blog and its security advisories. Only series
that etcdup runs (3.4 on) are listed. One row of the rulebook is not here: that 3.5.30 and 3.6.11 allow
`member add` with a dead voter (rule 28) is no reason to avoid them; `quorum.py` forbids it on every version.
"""

from dataclasses import dataclass
from typing import Literal

from etcdup.core.spec.version import NEWEST, Version

# What must be done or used for the advisory to matter.
Scope = Literal[
    "always",
    "single-member",  # clusters of one
    "learner-ops",  # adding and promoting members
    "member-update",  # changing a member's peer URLs
    "defrag",
    "force-new-cluster",
    "source-for-3.6",  # being upgraded to 3.6
    "source-for-3.7",  # being upgraded to 3.7
    "rbac",  # etcd's own users and roles
    "crl",  # lists of revoked certificates
    "tracing",
    "txn-at-revision",  # clients that read at an older revision within a transaction
]
Series = tuple[int, int]


@dataclass(frozen=True)
class Affected:
    """The releases of one series from patch `first` on, up to but not with `fixed` (None: no fix there)."""

    series: Series
    fixed: int | None
    first: int = 0

    def __contains__(self, version: Version) -> bool:
        late = self.fixed is not None and version.patch >= self.fixed
        return version.series == self.series and version.patch >= self.first and not late


@dataclass(frozen=True)
class Advisory:
    """One known fault: whom it hits, what happens, and how grave that is."""

    problem: str
    affected: tuple[Affected, ...]
    action: Literal["refuse", "warn"]
    source: str
    scope: Scope = "always"
    # Whether a distribution may have mended it under the old version number. What an old release has
    # already written into the data is not mended by any patch.
    may_be_patched: bool = True

    def affects(self, version: Version) -> bool:
        return any(version in affected for affected in self.affected)

    @property
    def fixed_in(self) -> tuple[Version, ...]:
        """The first good release of each series that has one, oldest first."""
        fixes = (Version(*each.series, each.fixed) for each in self.affected if each.fixed is not None)
        return tuple(sorted(fixes))

    @property
    def remedy(self) -> str:
        """What to do about it."""
        if not self.fixed_in:
            return f"use {NEWEST[max(NEWEST)]} or another version of a living series"
        return f"fixed in {', '.join(map(str, self.fixed_in))}; see {self.source}"


_3_5, _3_7 = (3, 5), (3, 7)


def _below(*fixes: str) -> tuple[Affected, ...]:
    """`3.5.7` for all of 3.5 before 3.5.7; `3.4.x` for all of 3.4, never fixed there."""
    parts = [fix.split(".") for fix in fixes]
    return tuple(
        Affected((int(major), int(minor)), None if patch == "x" else int(patch))
        for major, minor, patch in parts
    )


FAULTS = (
    Advisory(
        "the index and the write-ahead log can disagree after a crash; defrag can damage the data",
        _below("3.4.8"),
        "refuse",
        "CHANGELOG-3.4, 3.4.4 and 3.4.8",
    ),
    Advisory(
        "members' data can silently differ after a crash",
        _below("3.5.3"),
        "refuse",
        "etcd's post-mortem of the 3.5 data inconsistency",
    ),
    Advisory(
        "panics at start when users and roles are in use",
        (Affected(_3_5, fixed=4, first=3),),
        "refuse",
        "CHANGELOG-3.5, 3.5.4",
        "rbac",
    ),
    Advisory(
        "a cluster of one can lose acknowledged writes at a power cut",
        _below("3.5.5"),
        "refuse",
        "CHANGELOG-3.5, 3.5.5",
        "single-member",
    ),
    Advisory(
        "members' data can differ after a recovery with users and roles, or if killed in a defrag",
        _below("3.4.22", "3.5.6"),
        "refuse",
        "CHANGELOG-3.4, 3.4.22; CHANGELOG-3.5, 3.5.6",
    ),
    Advisory(
        "a learner that was never started can be promoted, and takes the quorum with it",
        _below("3.4.24", "3.5.7"),
        "refuse",
        "CHANGELOG-3.4, 3.4.24; CHANGELOG-3.5, 3.5.7",
        "learner-ops",
    ),
    Advisory(
        "watches can go back in time after a snapshot from the leader",
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
        "the revision can go back after a panic in a compaction",
        _below("3.4.32", "3.5.14"),
        "refuse",
        "CHANGELOG-3.4, 3.4.32; CHANGELOG-3.5, 3.5.14",
    ),
    Advisory(
        "a transaction that fails half-way can be applied in part",
        _below("3.4.35", "3.5.17"),
        "refuse",
        "CHANGELOG-3.4, 3.4.35; CHANGELOG-3.5, 3.5.17",
    ),
    Advisory(
        "promoted and removed members are remembered wrongly, which breaks the upgrade to 3.6",  # rule 44
        _below("3.5.32"),
        "refuse",
        "etcd's upgrade guide for 3.6",
        "source-for-3.6",
        may_be_patched=False,
    ),
    Advisory(
        "may not work together with members of 3.7",
        (Affected((3, 6), fixed=11),),
        "refuse",
        "etcd's upgrade guide for 3.7",
        "source-for-3.7",
        may_be_patched=False,
    ),
    Advisory(
        "force-new-cluster leaves old members or learners in",
        _below("3.4.x", "3.5.25", "3.6.6"),
        "refuse",
        "CHANGELOG-3.5, 3.5.22 and 3.5.25; CHANGELOG-3.6, 3.6.1 and 3.6.6",  # rule 66
        "force-new-cluster",
    ),
    Advisory(
        "a defrag during a snapshot from the leader can damage the data",
        _below("3.4.38", "3.5.23", "3.6.5"),
        "refuse",
        "CHANGELOG-3.4, 3.4.38; CHANGELOG-3.5, 3.5.23; CHANGELOG-3.6, 3.6.5",  # rule 75
        "defrag",
    ),
    Advisory(
        "can fail to start after a learner was promoted",
        _below("3.6.4"),
        "refuse",
        "CHANGELOG-3.6, 3.6.3 and 3.6.4",
    ),
    Advisory(
        "reads can be stale after a process was paused or a leader changed",
        _below("3.5.28", "3.6.9"),
        "warn",
        "CHANGELOG-3.5, 3.5.28; CHANGELOG-3.6, 3.6.9",
    ),
    Advisory(
        "changing a learner's peer URL promotes it",  # rule 23
        _below("3.4.x", "3.5.31", "3.6.12"),
        "refuse",
        "CHANGELOG-3.5, 3.5.31; CHANGELOG-3.6, 3.6.12",
        "member-update",
    ),
    Advisory(
        "members' data can differ after a transaction that reads at an older revision",
        (*_below("3.4.x", "3.5.x", "3.6.x"), Affected(_3_7, fixed=0)),
        "warn",
        "CHANGELOG-3.7, 3.7.0 (etcd issue 18667)",
        "txn-at-revision",
    ),
    Advisory(
        "3.4 has reached its end of life: it gets no more fixes, of security neither",
        _below("3.4.x"),
        "warn",
        "etcd's blog, June 2026",
    ),
)

VULNERABILITIES = (
    Advisory(
        "anyone who reaches the ports can use up memory with TLS handshakes (CVE-2026-73500)",
        _below("3.4.x", "3.5.33", "3.6.14", "3.7.1"),
        "warn",
        "GHSA-6vch-q96h-7gc3",
    ),
    Advisory(
        "a user with permission for one key can watch all that follow it",
        _below("3.4.x", "3.5.33", "3.6.14", "3.7.1"),
        "warn",
        "GHSA-xg4h-6gfc-h4m8",
        "rbac",
    ),
    Advisory(
        "revoked certificates are let in over gRPC when listen-client-http-urls is set",
        (*_below("3.4.x", "3.5.32", "3.6.13"), Affected(_3_7, fixed=0)),
        "warn",
        "GHSA-3wh4-j44w-pg92",
        "crl",
    ),
    Advisory(
        "users get around their permissions with puts in transactions (CVE-2026-44283)",
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
        "users get around their permissions with nested transactions (CVE-2026-33343)",
        _below("3.4.42", "3.5.28", "3.6.9"),
        "warn",
        "GHSA-rfx7-8w68-q57q",
        "rbac",
    ),
    Advisory(
        "a library in it, grpc-go, has a hole (CVE-2026-33186)",
        _below("3.4.42", "3.5.28", "3.6.9"),
        "warn",
        "CVE-2026-33186",
    ),
    Advisory(
        "users' tokens are written to the log",
        _below("3.4.40", "3.5.26", "3.6.7"),
        "warn",
        "CHANGELOG-3.5, 3.5.26",
        "rbac",
    ),
    Advisory(
        "LeaseTimeToLive shows keys' names to users without permission (CVE-2023-32082)",
        _below("3.4.26", "3.5.9"),
        "warn",
        "CVE-2023-32082",
        "rbac",
    ),
    Advisory(
        "passwords can be seen through the debug pages (CVE-2021-28235)",
        _below("3.4.25", "3.5.8"),
        "warn",
        "CVE-2021-28235",
        "rbac",
    ),
    Advisory(
        "tracing can be made to use up memory (CVE-2023-47108)",
        _below("3.5.11"),
        "warn",
        "CVE-2023-47108",
        "tracing",
    ),
    Advisory(
        "HTTP/2 clients can make it do endless work, the rapid reset (CVE-2023-44487)",
        _below("3.4.28", "3.5.10"),
        "warn",
        "CVE-2023-44487",
    ),
    Advisory(
        "a damaged log or a crafted request makes it panic (CVE-2020-15106, -15112, -15113)",
        _below("3.4.10"),
        "warn",
        "CVE-2020-15106",
    ),
)
