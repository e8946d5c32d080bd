"""The steps that form a cluster, start and restart members, and change the member list."""

from dataclasses import dataclass
from typing import ClassVar

from etcdup.core.plan.step import HostStep, Step


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
class MoveLeadership(HostStep):
    """Transfer the leadership to the member on this host (rule 39)."""

    disruptive: ClassVar[bool] = True
    if_cut: ClassVar[str] = "the leader is the old or the new one, and all members run"
