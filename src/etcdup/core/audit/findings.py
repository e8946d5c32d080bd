"""What `check` says: findings, and the facts that it looks at beyond an ordinary observation. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from etcdup.core.certs.inventory import CertInspection, Link
from etcdup.core.observed.model import Observed

# `wrong` must be put right, `advice` is worth a thought, `untried` is what could not be looked at.
Level = Literal["wrong", "advice", "untried"]
LEVELS: tuple[Level, ...] = ("wrong", "advice", "untried")


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be. `host` is empty where it is about the whole cluster.

    `rules` are the operating rules that it violates, `cis` is the control of the CIS Kubernetes Benchmark.
    `code` names the kind of finding: `etcdup explain CODE` prints what it means (core/rules/codes.py).
    """

    level: Level
    host: str
    what: str
    why: str
    fix: str
    rules: tuple[int, ...] = ()
    cis: str = ""
    code: str = field(kw_only=True)


@dataclass(frozen=True)
class PortProbe:
    """A TCP connection tried from one host to another's port. `answered` also where it was refused: the way is open
    then, and only nobody listens. `tool`: whether the host has anything to knock with."""

    target: str
    port: int
    answered: bool
    has_tool: bool = True


@dataclass(frozen=True)
class FileRights:
    """Mode and owner of a file or folder that the running process names; `sha256` of files alone."""

    path: str
    mode: int
    owner: str
    sha256: str = ""


@dataclass(frozen=True)
class Disk:
    """The file system below a member's folder, in df's words: what kind, what is mounted there, and where."""

    path: str
    filesystem: str
    free_bytes: int
    source: str = ""
    mount: str = ""


@dataclass(frozen=True)
class HostInspection:
    """A closer look at one host. `settings` are the running process's own, by flag, empty where none runs.

    `disks` are the data folder's and, where the log has a folder of its own, that one's too: the running process's,
    else cluster.yaml's. `sources` and `round_trips_ms` go by the other host's name; `fsyncs_ms` are etcd's write where
    its log is, one by one, `writes_untried` why they were not tried although asked for. `exposure` is what
    `systemd-analyze security` makes of the unit, None where it said nothing. `synchronised`: whether the kernel's clock
    follows another, None where nothing on the host tells. `lacks`: programs that it has not, of those that were wanted.
    """

    host: str
    settings: Mapping[str, str] = field(default_factory=dict)
    rights: Mapping[str, FileRights] = field(default_factory=dict)
    swap: bool = False
    disks: tuple[Disk, ...] = ()
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
    """A member's keys and values as one number, at the revision that all members were asked for (rule 81)."""

    member: str
    value: int = 0
    compacted: int = 0
    why: str = ""


@dataclass(frozen=True)
class LeaderChanges:
    """How often a member saw the leader change in the seconds since its process started, or why it does not tell."""

    member: str
    changes: int = 0
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a check saw."""

    observed: Observed
    inspections: Mapping[str, HostInspection] = field(default_factory=dict)
    cert_inspections: tuple[CertInspection, ...] = ()
    links: tuple[Link, ...] = ()
    hashes: tuple[MemberHash, ...] = ()
    leaders: tuple[LeaderChanges, ...] = ()
    not_inspected: Mapping[str, str] = field(default_factory=dict)  # hosts whose closer look failed, and why


def worst_level(findings: tuple[Finding, ...]) -> Level | None:
    """The gravest level there is."""
    return next((level for level in LEVELS if any(each.level == level for each in findings)), None)
