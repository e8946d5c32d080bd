"""Every step that a plan may have: frozen intent, with a reason.

No callables, no secrets, no clock. A step says what shall be so; `commands.py` says, on a fresh observation,
which commands make it so, and the plan made from the next observation says whether it is so.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class FileChange:
    """A file to be created or brought back to what cluster.yaml wants. `diff` is empty for keys and certificates."""

    path: str
    action: Literal["create", "update"]
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What every step has. `rules` are numbers of the operating rules it follows; `quorum` is what the step does
    to voters, quorum and tolerance, before and after."""

    reason: str
    rules: tuple[int, ...] = ()
    quorum: str = ""
    # A disruptive step changes what the cluster is made of, or takes a member away for a while: it stands alone,
    # behind its guard.
    disruptive: ClassVar[bool] = False
    glyph: ClassVar[str] = "~"
    # What is there should etcdup die in the middle of this step, and what the next apply then does.
    if_cut: ClassVar[str] = "nothing that runs is touched; the next apply does the rest"

    @property
    def kind(self) -> str:
        return type(self).__name__

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal in two plans exactly where they mean the same step, whatever reasons they give."""
        return (self.kind,)


@dataclass(frozen=True, kw_only=True)
class HostStep(Step):
    """A step on one host."""

    host: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host)


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


@dataclass(frozen=True, kw_only=True)
class StageRestore(HostStep):
    """The snapshot goes to the host, and etcd's own tool restores it beside what runs, which is not touched.

    `snapshot` is the file on the operator's machine, `token` the new cluster's (rules 4, 56).
    """

    snapshot: str
    sha256: str
    token: str
    aside: str
    bump: int
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "what runs is not touched; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class StopMembers(Step):
    """Every member of the old cluster is stopped, and seen to be, before any restored one starts (rule 57)."""

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "the cluster is down, its data is in place; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class CopyData(HostStep):
    """The stopped member's data is copied beside itself, under the new cluster's token; nothing takes its place
    before that."""

    token: str
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the copy is whole or not there; the same recover goes on"


@dataclass(frozen=True, kw_only=True)
class FreeSpace(HostStep):
    """What etcdup can bring again any time goes from a disk that is full, so that etcd can write; no data does."""

    paths: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "some of it is gone, and nothing that is needed; the same recover goes on"


@dataclass(frozen=True, kw_only=True)
class SalvageData(HostStep):
    """The stopped member's data becomes a snapshot on the operator's machine, off a copy that is gone afterwards.

    `term` and `index` are of the last entry in its log, `snapshot` is the file that is made.
    """

    term: int
    index: int
    snapshot: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "the data is in its place; the same recover removes what is left of the copy, and goes on"
    )


@dataclass(frozen=True, kw_only=True)
class PlaceData(HostStep):
    """The old data is moved aside and the restored data takes its place. etcd is stopped everywhere by then."""

    aside: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "old and restored data are both there; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class StartRestored(Step):
    """All restored members are started together and proved healthy (rules 1, 2, 11)."""

    hosts: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "some members wait for the others; the same restore starts those"


@dataclass(frozen=True, kw_only=True)
class FenceOff(HostStep):
    """The cluster that this host's member is of says from here on, by their `tokens`, which clusters' place it took:
    members of those that start later ask for that, and stay down (fence.py)."""

    tokens: tuple[str, ...]
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the restored cluster serves; the same restore goes on"


@dataclass(frozen=True, kw_only=True)
class SealRestore(HostStep):
    """The restored member was proved: its host says so, and the copy of the snapshot goes."""


@dataclass(frozen=True, kw_only=True)
class ForgetRestore(HostStep):
    """A restore that was never put in place is given up: what was staged goes, what runs is not touched."""


@dataclass(frozen=True, kw_only=True)
class MarkUndo(HostStep):
    """The host's mark says that its restore is being undone, before anything is."""


@dataclass(frozen=True, kw_only=True)
class UndoData(HostStep):
    """What was restored is moved aside, and the data of before takes its place. etcd is stopped everywhere by then."""

    aside: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = "old and restored data are both there; the same undo goes on"


STEPS: dict[str, type[Step]] = {
    kind.__name__: kind
    for kind in (
        IssueCertificates,
        RotateAuthority,
        ObtainBinaries,
        PrepareHost,
        InstallBinaries,
        InstallFiles,
        SwitchBinaries,
        EnableUnit,
        FormCluster,
        SealCluster,
        StartMember,
        RestartMember,
        RetireMember,
        MarkReplacement,
        SetAside,
        DetachMember,
        RemoveMember,
        AddLearner,
        JoinMember,
        PromoteMember,
        UpdatePeerUrl,
        TakeSnapshot,
        CheckV2Store,
        EnableDowngrade,
        CancelDowngrade,
        StageRestore,
        StopMembers,
        CopyData,
        FreeSpace,
        SalvageData,
        PlaceData,
        StartRestored,
        FenceOff,
        SealRestore,
        ForgetRestore,
        MarkUndo,
        UndoData,
    )
}
# Steps whose outcome is not seen in the cluster, so that a fresh plan has them as long as they matter.
LASTING = (ObtainBinaries, CheckV2Store, CopyData, SalvageData, FenceOff)
