"""A snapshot file and the known facts about its content."""

from dataclasses import dataclass, field

from etcdup.core.etcd.leases import LeaseUse
from etcdup.core.members.member_list import name_of
from etcdup.core.observed.model import ListedMember


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot file that was read completely.

    `made_by` is the minor of the cluster at that time, for example `3.6.0`; empty if the file does not contain it.
    `members` are the members of the cluster at that time, from the file.
    `origin` is the backup and its cluster, from the manifest. `cluster_id` is hexadecimal, from the manifest too.
    """

    path: str
    sha256: str
    size: int
    revision: int
    made_by: str
    origin: str = ""
    members: tuple[ListedMember, ...] = ()
    cluster_id: str = ""
    leases: LeaseUse = field(default_factory=LeaseUse)

    @property
    def title(self) -> str:
        return self.origin or self.path

    @property
    def members_text(self) -> str:
        """Return its members with their peer URLs, as text."""
        return ", ".join(f"{name_of(each)} ({' '.join(each.peer_urls)})" for each in self.members)
