"""The steps that prepare hosts, form a cluster, and change its certificates, its members or its version."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from etcdup.core.plan.step import FileChange, HostStep, Step


@dataclass(frozen=True, kw_only=True)
class IssueCertificates(Step):
    """Issue the certificates of these roles on the operator's machine, and create the CA if there is none.

    `new_keys`: each gets a new key, because the present one may be known to others.
    """

    roles: tuple[str, ...]
    makes_authority: bool
    new_keys: bool = False
    glyph: ClassVar[str] = "+"


@dataclass(frozen=True, kw_only=True)
class RevokeCertificates(Step):
    """Sign a revocation list that contains these serial numbers (hexadecimal), on the operator's machine (rule 110).

    The following steps install it on the hosts.
    """

    roles: tuple[str, ...]
    serials: tuple[str, ...]
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "the list contains the certificates or not, and no host has the list yet; the next run detects which"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        """A certificate that is archived in this run has another role then."""
        return (self.kind, *sorted(self.serials))

    @property
    def is_alone(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class RotateAuthority(Step):
    """Do one phase of a CA rotation in the PKI of the operator's machine (rule 15).

    `trust` creates the new CA and trusts it in addition to the old one. `sign` signs with the new CA from then on.
    `drop` trusts only the new CA. `keep` undoes an incomplete `drop`: the old CA is trusted again.

    The following steps change the hosts. This step is disruptive only so that it is a phase of its own with a guard.
    """

    stage: Literal["trust", "sign", "drop", "keep"]
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "this phase is done or not done, and no host is changed yet; the next run detects which"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.stage)


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
class FormCluster(Step):
    """Start all members together for the first time, as a new cluster with its own token (rules 1, 2, 4)."""

    hosts: tuple[str, ...]
    token: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "some members run and wait for the others; the next apply starts the others with the same token"
    )


@dataclass(frozen=True, kw_only=True)
class SealCluster(Step):
    """Set the markers to `formed`, because all members are proved healthy.

    After that, no host can form the cluster again (rules 6, 7).
    """

    hosts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RecordEndpoints(Step):
    """Write into the markers of these hosts which endpoints clients may know."""

    hosts: tuple[str, ...]
    endpoints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AdoptHost(HostStep):
    """Write the marker of a host whose etcd another tool installed. Nothing else is changed."""

    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "no member is changed; the same command, run again, writes the markers that are missing"
    )


@dataclass(frozen=True, kw_only=True)
class ReleaseHost(HostStep):
    """Remove the marker of an adopted host. Its etcd continues to run as before."""

    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "no member is changed; the same command, run again, removes the markers that are left"
    )


@dataclass(frozen=True, kw_only=True)
class TakeOverMember(HostStep):
    """Switch a member from the unit of another tool to that of etcdup: the same data, identity, version and binary."""

    version: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "a script on the host ends the switch, also after a reboot: the new or the old member runs then; run the same "
        "command again"
    )


@dataclass(frozen=True, kw_only=True)
class GiveBackMember(HostStep):
    """Switch a member back to the unit of the tool that made it, with its data as it is."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "a script on the host ends the switch, also after a reboot: the old member runs then; run the same command "
        "again"
    )


@dataclass(frozen=True, kw_only=True)
class FinishTakeOver(Step):
    """Write the final settings and markers: from then on, these hosts are managed as hosts that etcdup made."""

    hosts: tuple[str, ...]
    if_cut: ClassVar[str] = "no member is changed; the same command, run again, writes what is left"


@dataclass(frozen=True, kw_only=True)
class StartMember(HostStep):
    """Start a stopped member that has its data."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "the member is starting, or the next apply starts it"


@dataclass(frozen=True, kw_only=True)
class RestartMember(HostStep):
    """Restart a running member with new settings: transfer leadership, stop, start, prove that it is healthy.

    `version` is the version that it runs afterwards. `no_way_back` is True for the last member of an older minor: once
    it runs the new minor, no member can return to the older one without a downgrade or a restore (rule 46).
    """

    version: str
    no_way_back: bool = False
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "this member is stopped or starting, the others serve clients; the next apply starts it"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.host, self.version)


@dataclass(frozen=True, kw_only=True)
class DrainMember(HostStep):
    """Transfer leadership and stop the member, so that its host can reboot. etcd starts when the host boots."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "this member runs or is stopped, the others serve clients; `etcdup apply` starts it"
    )


@dataclass(frozen=True, kw_only=True)
class MoveClients(HostStep):
    """Restart a member with its present files, with a pause, so that its clients connect to other members.

    Members that trust only the new CA accept or reject these clients. The restarted member still accepts all of them.
    """

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "this member is stopped or starting with both CAs, the others serve clients; the next apply continues"
    )


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
class MarkReplacement(HostStep):
    """Write into the host's marker that a new member here replaces the member with this ID (hexadecimal).

    After that, an ordinary apply finishes the replacement. `new_certs`: the certificates of the old member are archived
    first, so that the new member gets other ones, and those of the old member are revoked. `shared_certs`: the new
    member gets those of the old member, whose host can be lost.
    """

    member_id: str
    new_certs: bool = False
    shared_certs: bool = False
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the member list is unchanged; if the marker is written, the next apply finishes the replacement"
    )


@dataclass(frozen=True, kw_only=True)
class SetAside(HostStep):
    """Stop etcd and archive its data, so that a new member can start without data on this host (rule 31)."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = "the data of the removed member is in place or archived; the next apply continues"


@dataclass(frozen=True, kw_only=True)
class DetachMember(HostStep):
    """Stop and disable etcd on a former host, archive its data and settings, and delete its private keys."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "the host is no longer a member and cannot rejoin; the next apply archives the rest"
    )


@dataclass(frozen=True, kw_only=True)
class RemoveMember(HostStep):
    """Remove the member with this ID (hexadecimal) from the member list.

    It is stopped first if the others have a quorum without it, so that its clients connect to other members. Otherwise
    leadership is transferred first, and its etcd stops by itself (rule 33).
    """

    member_id: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "the member may be stopped or removed; the next apply detects which, and continues"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.member_id)


@dataclass(frozen=True, kw_only=True)
class AddLearner(HostStep):
    """Add the host's member to the member list as a learner.

    A learner has no vote, so it cannot affect the quorum (rule 27).
    """

    peer_url: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = (
        "the member list may have a learner that is not started and has no vote; the next apply starts it"
    )


@dataclass(frozen=True, kw_only=True)
class JoinMember(HostStep):
    """Start the added member for the first time, without data. It copies the data of the leader."""

    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "a learner without a vote is starting; the next apply waits for it"


@dataclass(frozen=True, kw_only=True)
class PromoteMember(HostStep):
    """Promote the learner to a voter once it is in sync with the leader, and prove that it is healthy (rule 29)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the member is a healthy learner or a healthy voter; the next apply detects which"


@dataclass(frozen=True, kw_only=True)
class UpdatePeerUrl(HostStep):
    """Change the member's peer URL in the member list, before the member is restarted with the new URL (rule 36)."""

    member_id: str
    peer_url: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the other members connect to the old or to the new peer URL; the next apply continues"
    )


@dataclass(frozen=True, kw_only=True)
class DisarmSpaceAlarm(Step):
    """Disarm NOSPACE on each member, because each database has space in the quota of its process (rule 70)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the alarm is disarmed or still active; the next apply detects which"


@dataclass(frozen=True, kw_only=True)
class DisarmCorruptAlarm(Step):
    """Compare the data of all voters, and disarm CORRUPT if it is the same (rule 82).

    `member` is the member that is repaired.
    """

    member: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "the alarm is disarmed or still active; the same command, run again, detects which"
    )


@dataclass(frozen=True, kw_only=True)
class CompactHistory(Step):
    """Remove the history up to a revision on each member. The present keys stay (rule 70)."""

    revision: int
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "-"
    if_cut: ClassVar[str] = (
        "each member continues a compaction that it has begun; no present key is lost; run the same command again for "
        "the rest"
    )


@dataclass(frozen=True, kw_only=True)
class DefragmentMember(HostStep):
    """Defragment the database of a member. `in_use` is the size of its data in bytes.

    The member is blocked meanwhile, and its clients wait. A leader transfers the leadership first (rules 73 to 75).
    """

    in_use: int
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "!"
    if_cut: ClassVar[str] = (
        "the member continues a defragmentation that it has begun, and then serves its clients again; run the same "
        "command again for the rest"
    )


@dataclass(frozen=True, kw_only=True)
class MoveLeadership(HostStep):
    """Transfer the leadership to the member on this host (rule 39)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the leader is the old or the new one, and all members run"


@dataclass(frozen=True, kw_only=True)
class TakeSnapshot(Step):
    """Save a verified snapshot in a directory on the operator's machine, before the first member changes its minor.

    `hop` is the change, for example `3.5-to-3.6` (rule 43).
    """

    hop: str
    folder: str
    disruptive: ClassVar[bool] = True
    glyph: ClassVar[str] = "+"
    if_cut: ClassVar[str] = "no running member is changed; an incomplete snapshot is never listed"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.hop)


@dataclass(frozen=True, kw_only=True)
class CheckV2Store(HostStep):
    """Check with etcdutl whether the member has data of the v2 store, which 3.6 cannot read (rule 44). Read-only."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "this step only reads"


@dataclass(frozen=True, kw_only=True)
class EnsureRaftSnapshot(HostStep):
    """Prove on the disk that the member reads no v2 request from its log when it starts (rule 111).

    If it would, entries without effect are appended first, so that every member makes a raft snapshot.
    """

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "no member is changed, the log may have more entries; the next apply checks again"


@dataclass(frozen=True, kw_only=True)
class EnableDowngrade(Step):
    """Enable the downgrade to this minor. The members then convert their data to the older format (rule 47)."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = (
        "all members still run the newer minor; the next apply continues, or cancels the downgrade if `version` in "
        "cluster.yaml is the newer one again"
    )

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.kind, self.target)


@dataclass(frozen=True, kw_only=True)
class CancelDowngrade(Step):
    """Cancel the downgrade that is enabled."""

    target: str
    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the downgrade is cancelled or still enabled; the next apply detects which"
