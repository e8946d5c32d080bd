"""What `check` reports: findings, and the evidence that it reads in addition to the observation. Frozen."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from etcdup.core.certs.inventory import CertInspection, Link
from etcdup.core.certs.user_access import UserRoles
from etcdup.core.observed.model import Observed
from etcdup.core.verdict.cause import Cause

# `wrong` must be fixed, `advice` can be an improvement, `untried` could not be checked.
Level = Literal["wrong", "advice", "untried"]
LEVELS: tuple[Level, ...] = ("wrong", "advice", "untried")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be. `host` is empty if the finding is about the whole cluster.

    `what`, `why` and `fix` are sentences. `rules` are the operating rules that the finding violates, `cis` is the
    control of the CIS Kubernetes Benchmark. `code` names the kind of finding: `etcdup explain CODE` prints what it
    means (core/rules/codes.py).
    """

    level: Level
    host: str
    what: str
    why: str
    fix: str
    rules: tuple[int, ...] = ()
    cis: str = ""
    code: str = field(kw_only=True)

    @classmethod
    def of_cause(cls, cause: Cause, names: Collection[str]) -> "Finding":
        """Return the finding for a cause of the verdict. It is about the cluster if the cause is about several hosts.

        `names` are those of the members: a sentence can begin with them.
        """
        host = cause.hosts[0] if len(cause.hosts) == 1 else ""
        what, fix = as_sentence(cause.what, *names), as_sentence(cause.hint)
        why = " ".join(as_sentence(effect, *names) for effect in cause.effects)
        level: Level = "wrong" if cause.level == "wrong" else "advice"
        return cls(level, host, what, why, fix, cause.rules, code=cause.code)


@dataclass(frozen=True)
class PortProbe:
    """A TCP connection that one host tried to the port of another host.

    `answered` is also true if the connection was refused: the network permits it then, and only no program has the
    port open. `has_tool` is false if the host has no program for this test.
    """

    target: str
    port: int
    answered: bool
    has_tool: bool = True


@dataclass(frozen=True)
class FileRights:
    """Mode and owner of a file or directory that the running process uses. Only files have a `sha256`."""

    path: str
    mode: int
    owner: str
    sha256: str = ""


@dataclass(frozen=True)
class Disk:
    """The file system of a member's directory, as df reports it: type, free space, source and mount point."""

    path: str
    filesystem: str
    free_bytes: int
    source: str = ""
    mount: str = ""


@dataclass(frozen=True)
class HostInspection:
    """What `check` reads on one host in addition to the probe.

    `settings` are those of the running process, by flag; empty if no etcd runs.
    `disks` has the disk of the data directory, then the disk of the WAL directory if etcd has one. The directories
    are those of the running process; without a process, those of cluster.yaml.
    `sources` and `round_trips_ms` have the name of the other host as their key.
    `fsyncs_ms` has the times of single small writes, as etcd writes them, on the disk of the log. `writes_untried` is
    the reason why they were not measured although `--disk` was passed.
    `fast_commits` are the directories on ext4 with a feature that loses writes, on a kernel with this fault.
    `exposure` is the rating of the unit by `systemd-analyze security`, None if it printed none.
    `synchronised` is whether the clock of the host is synchronised, None if no program on the host reports it.
    `missing_programs` are the programs that the inspection needs and the host does not have.
    """

    host: str
    settings: Mapping[str, str] = field(default_factory=dict)
    rights: Mapping[str, FileRights] = field(default_factory=dict)
    swap: bool = False
    disks: tuple[Disk, ...] = ()
    fast_commits: tuple[str, ...] = ()
    other_units: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    round_trips_ms: Mapping[str, float] = field(default_factory=dict)
    synchronised: bool | None = None
    missing_programs: tuple[str, ...] = ()
    port_probes: tuple[PortProbe, ...] = ()
    fsyncs_ms: tuple[float, ...] = ()
    writes_untried: str = ""
    exposure: float | None = None


@dataclass(frozen=True)
class MemberHash:
    """The hash of a member's keys and values, at the same revision for all members (rule 81).

    `compacted` is the revision of its last compaction. `why` is the reason if the hash could not be read.
    """

    member: str
    value: int = 0
    compacted: int = 0
    why: str = ""
    revision: int = 0


@dataclass(frozen=True)
class LeaderChanges:
    """The number of leader changes in the `seconds` since the member's process started.

    `why` is the reason if the member does not report them. `compacted_s` is how long ago the last compaction was, at
    most the time since the start; None if the member does not report it, as 3.4. `defrags` is the number of
    defragmentations since the start.
    """

    member: str
    changes: int = 0
    seconds: float = 0.0
    why: str = ""
    compacted_s: float | None = None
    defrags: int = 0


@dataclass(frozen=True)
class MemberLog:
    """The log of a member that runs 3.6: whether it has v2 requests that 3.7 would read at its start (rule 111).

    `why` is the reason if the log could not be read.
    """

    member: str
    reads_v2: bool = False
    why: str = ""


@dataclass(frozen=True)
class Evidence:
    """All observations that `check` evaluates. `not_inspected` has the hosts whose inspection failed, and why.

    `auth` says whether the users of etcd are enabled, and `roles` has the roles of some of them. `backup_sizes` has the
    times of backups and the sizes of their databases, and `sizes_unread` is why they were not read.
    """

    observed: Observed
    inspections: Mapping[str, HostInspection] = field(default_factory=dict)
    cert_inspections: tuple[CertInspection, ...] = ()
    links: tuple[Link, ...] = ()
    hashes: tuple[MemberHash, ...] = ()
    leaders: tuple[LeaderChanges, ...] = ()
    logs: tuple[MemberLog, ...] = ()
    not_inspected: Mapping[str, str] = field(default_factory=dict)
    auth: bool = False
    roles: UserRoles = field(default_factory=dict)
    backup_sizes: tuple[tuple[datetime, int], ...] = ()
    sizes_unread: str = ""


def worst_level(findings: tuple[Finding, ...]) -> Level | None:
    """Return the most severe level of the findings, None if there are no findings."""
    return next((level for level in LEVELS if any(each.level == level for each in findings)), None)


def as_sentence(text: str, *names: str) -> str:
    """Return a message or a hint as a sentence: it starts with a capital letter and ends with a full stop.

    A name at the beginning stays as it is: one of `names`, etcd, a path or a command.
    """
    if not text.startswith(("etcd", "/", "`", *filter(None, names))):
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
