"""A snapshot file and the known facts about its content."""

from dataclasses import dataclass, field

from etcdup.core.etcd.leases import LeaseUse
from etcdup.core.members.member_list import name_of
from etcdup.core.observed.member import ListedMember


@dataclass(frozen=True)
class SnapshotFile:
    """A snapshot file that was read completely.

    `made_by` is the minor of the cluster at that time, for example `3.6.0`; empty if the file does not contain it.
    `members` are the members of the cluster at that time, from the file.
    `origin` is the backup and its cluster, from the manifest. `cluster_id` is hexadecimal, from a signed manifest.
    `alarms` are those of the cluster at that time, as in MemberSeen. A restored cluster has them too.
    `rewound_from` is the title of the snapshot that the file was made from, if it is as of an earlier revision, and
    `newest` the newest revision of that snapshot.
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
    rewound_from: str = ""
    newest: int = 0
    alarms: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        if self.rewound_from:
            return f"{self.rewound_from} at revision {self.revision}"
        return self.origin or self.path

    @property
    def rewound_by(self) -> int:
        """Return how many revisions of the snapshot are not in the file."""
        return max(self.newest - self.revision, 0)

    @property
    def members_text(self) -> str:
        """Return its members with their peer URLs, as text."""
        return ", ".join(f"{name_of(each)} ({' '.join(each.peer_urls)})" for each in self.members)
