"""A snapshot file and what is known of its content."""

from dataclasses import dataclass

from etcdup.core.members.member_list import name_of
from etcdup.core.observed.model import ListedMember


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot that was read whole. `made_by` is the cluster's minor then, like `3.6.0`; empty where the file does
    not say. `members` are those that the cluster had then, by the file itself. `origin` is what its manifest tells:
    which backup it is, and of which cluster; so is `cluster_id`, in hexadecimal."""

    path: str
    sha256: str
    size: int
    revision: int
    made_by: str
    origin: str = ""
    members: tuple[ListedMember, ...] = ()
    cluster_id: str = ""

    @property
    def title(self) -> str:
        return self.origin or self.path

    @property
    def members_text(self) -> str:
        """Its members, as an operator knows them."""
        return ", ".join(f"{name_of(each)} ({' '.join(each.peer_urls)})" for each in self.members)
