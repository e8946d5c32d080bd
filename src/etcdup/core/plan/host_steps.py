"""The steps that install etcd and its files on a host, and that rename or delete files there."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from etcdup.core.plan.step import FileChange, HostStep, Step


@dataclass(frozen=True, kw_only=True)
class ObtainBinaries(Step):
    """Get the archive of this version into the cache of the operator's machine, and verify it."""

    version: str
    source: str
    origin: str
    arches: tuple[str, ...]
    glyph: ClassVar[str] = "+"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.version)


@dataclass(frozen=True, kw_only=True)
class PrepareHost(HostStep):
    """Create the etcd user, the directories, and the marker that says which member the data directory belongs to."""

    token: str
    missing: tuple[str, ...]
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class InstallBinaries(HostStep):
    """Install this version next to the other versions. The running member is not changed."""

    version: str
    source: str
    glyph: ClassVar[str] = "+"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class InstallFiles(HostStep):
    """Write the configuration, the unit and the certificates atomically. A running member reads them at its restart.

    `version` is the version of etcd that the files are for. `proof` says what proves the files before another host gets
    such files: `handshake` for certificates and keys of a running member, which it reads for each handshake (rule 12),
    and `restart` for files of a member that is restarted next. The host keeps the previous files until then.
    """

    changes: tuple[FileChange, ...]
    version: str
    proof: Literal["", "handshake", "restart"] = ""

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version, *((self.proof,) if self.proof == "handshake" else ()))

    @property
    def is_alone(self) -> bool:
        return self.proof == "handshake"


@dataclass(frozen=True, kw_only=True)
class ProveFiles(HostStep):
    """Prove files that an earlier run wrote and did not prove, or put the previous files back.

    `handshake_only`: only new handshakes are done. A start or restart of the member proves its settings later.
    """

    handshake_only: bool = False
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the host has the new or the previous files; the next run proves them before another host gets such files"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """A proof by the health of the member is another step, which can follow a proof by handshakes."""
        return (self.kind, self.host, "handshakes" if self.handshake_only else "health")


@dataclass(frozen=True, kw_only=True)
class SwitchBinaries(HostStep):
    """Point the `current` link to this version by one rename. A running member has its old binary until its restart."""

    version: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class EnableUnit(HostStep):
    """Make systemd read etcd.service and start it at boot."""


@dataclass(frozen=True, kw_only=True)
class RecordEndpoints(Step):
    """Write into the markers of these hosts which endpoints clients may know."""

    hosts: tuple[str, ...]
    endpoints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RetireMember(HostStep):
    """Stop and disable etcd, and archive its data and settings under this suffix. Only private keys are deleted.

    `superseded`: the reason is that another cluster has superseded the one of this host.
    """

    suffix: str
    superseded: bool = False
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "archived files stay archived; the same command, run again, does the rest"


@dataclass(frozen=True, kw_only=True)
class DeleteArchives(HostStep):
    """Delete archived data and settings that the operator chose. It cannot be undone.

    Each host is a phase of its own: to delete large files can make the disk of a member slow for a moment.
    """

    paths: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "some archives are deleted; the same command, run again, deletes the others"

    @property
    def is_alone(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class SetAside(HostStep):
    """Stop etcd and archive its data, so that a new member can start without data on this host (rule 31)."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "the data of the removed member is in place or archived; the next apply continues"
