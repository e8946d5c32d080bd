"""The steps that set hosts up, form a cluster and change it: its certificates, its members, its version."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from etcdup.core.plan.step import FileChange, HostStep, Step


@dataclass(frozen=True, kw_only=True)
class IssueCertificates(Step):
    """On the operator's machine: certificates for these roles, and the CA where there is none."""

    roles: tuple[str, ...]
    makes_authority: bool
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class RotateAuthority(Step):
    """On the operator's machine, one of the three turns of a change of CA (rule 15): `trust` makes the new one and
    trusts it beside the old, `sign` has the new one sign from here on, `drop` trusts it alone. `keep` is the way back
    from a `drop` that is not whole: the old one is trusted again.

    Hosts follow by the steps after it. Disruptive, for it stands alone behind its guard.
    """

    stage: Literal["trust", "sign", "drop", "keep"]
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the turn is done or it is not, and no host knows of it yet; the next run sees which"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.stage)


@dataclass(frozen=True, kw_only=True)
class ObtainBinaries(Step):
    """On the operator's machine: the archive of this version into the cache, verified."""

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
    """The etcd user, the folders, and the mark that the data directory is ours."""

    token: str
    missing: tuple[str, ...]
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class InstallBinaries(HostStep):
    """This version beside the others; what runs is not touched."""

    version: str
    source: str
    glyph: ClassVar[str] = "+"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class InstallFiles(HostStep):
    """Configuration, unit and certificates. Written atomically; a running member reads them when restarted.

    `version` is the one that they are written for.
    """

    changes: tuple[FileChange, ...]
    version: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class SwitchBinaries(HostStep):
    """The `current` link to this version, by one rename. A running member keeps its old binary until restarted."""

    version: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class EnableUnit(HostStep):
    """systemd has read etcd.service and starts it at boot."""


@dataclass(frozen=True, kw_only=True)
class FormCluster(Step):
    """The first start of all members together, as a new cluster with a token of its own (rules 1, 2, 4)."""

    hosts: tuple[str, ...]
    token: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "some members wait for the others; the next apply starts those, with the same token"
    )


@dataclass(frozen=True, kw_only=True)
class SealCluster(Step):
    """The cluster was seen healthy: from here on no host may ever form it again (rules 6, 7)."""

    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StartMember(HostStep):
    """A stopped member with its data in place is started."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the member starts by itself, or the next apply starts it"


@dataclass(frozen=True, kw_only=True)
class RestartMember(HostStep):
    """A running member takes up new settings: leadership moved away, stop, start, proved healthy.

    `version` is what it runs afterwards. `no_way_back`: it is the last member of an older minor, and once it
    runs the new one no member can go back (rule 46).
    """

    version: str
    no_way_back: bool = False
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "the member is stopped or starting, the others serve; the next apply starts it"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class RetireMember(HostStep):
    """Stopped, disabled, data and settings moved aside under this suffix; nothing is deleted."""

    suffix: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "what was moved stays where it is; the same command again does the rest"


@dataclass(frozen=True, kw_only=True)
class MarkReplacement(HostStep):
    """The host is marked as the place of a new member that takes over from the member of this ID (hexadecimal).

    From then on an ordinary apply finishes the replacement.
    """

    member_id: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "nothing has changed in the cluster; once the mark is there, apply finishes the work"
    )


@dataclass(frozen=True, kw_only=True)
class SetAside(HostStep):
    """etcd is stopped and its data moved aside, so that a new member can start empty on this host (rule 31)."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "its data is there or beside, and is no member's any more; the next apply goes on"


@dataclass(frozen=True, kw_only=True)
class DetachMember(HostStep):
    """The host of a member that has left: stopped, disabled, data and settings moved aside."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "it is no member any more and cannot come back as one; the next apply clears the rest"
    )


@dataclass(frozen=True, kw_only=True)
class RemoveMember(HostStep):
    """The member of this ID (hexadecimal) leaves the member list; where it leads, leadership moves away first. Its
    etcd then stops by itself (rule 33)."""

    member_id: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "the member is in the list or it is not; the next apply sees which"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.member_id)


@dataclass(frozen=True, kw_only=True)
class AddLearner(HostStep):
    """The host's member enters the member list as a learner: without a vote, so it cannot harm (rule 27)."""

    peer_url: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "the list has a learner that never started, which has no vote; the next apply starts it"
    )


@dataclass(frozen=True, kw_only=True)
class JoinMember(HostStep):
    """The added member is started for the first time, empty, and copies the leader's data."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "a learner is starting, which has no vote; the next apply waits for it"


@dataclass(frozen=True, kw_only=True)
class PromoteMember(HostStep):
    """The learner gets its vote once it is in sync with the leader, and is proved healthy (rule 29)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "it is a learner or a voter, and healthy as both; the next apply sees which"


@dataclass(frozen=True, kw_only=True)
class UpdatePeerUrl(HostStep):
    """The member list gets this member's new peer URL, before it is restarted with it (rule 36)."""

    member_id: str
    peer_url: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the others look for the member at its old or its new address; the next apply goes on"
    )


@dataclass(frozen=True, kw_only=True)
class TakeSnapshot(Step):
    """A verified snapshot into a folder of the operator's, before the first member makes this `hop`, like
    `3.5-to-3.6` (rule 43)."""

    hop: str
    folder: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "nothing that runs is touched; a snapshot that is not whole is never listed"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.hop)


@dataclass(frozen=True, kw_only=True)
class CheckV2Store(HostStep):
    """etcdutl looks whether the member's data still holds what 3.6 no longer reads (rule 44). Read-only."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "it only reads"


@dataclass(frozen=True, kw_only=True)
class EnableDowngrade(Step):
    """The cluster is told to go down to this minor, and its members write their data in the older form (rule 47)."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "all members run as before; the next apply goes on down, or cancels if told to go up"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.target)


@dataclass(frozen=True, kw_only=True)
class CancelDowngrade(Step):
    """A downgrade that is under way is called off."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the downgrade is called off or still enabled; the next apply sees which"
