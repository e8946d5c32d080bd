"""The marker on a host: which cluster and member the host belongs to, and which restore it takes part in."""

from dataclasses import dataclass

# The stages of a host whose etcd another tool installed. `waiting`: etcdup has changed nothing but its marker. `taken`:
# etcd runs in the way of etcdup, and other hosts still wait.
ADOPTED_STAGES = ("waiting", "taken")
# Tokens of adopted clusters begin with it. The rest is the ID of the cluster.
ADOPTED_TOKEN = "adopted-"  # noqa: S105 (the token of a cluster is no secret)
# The stages of a restore that is part of the present cluster.
COMPLETE = ("done", "joined")


@dataclass(frozen=True)
class Restored:
    """A restore on this host: the snapshot, the stage, and where the old data is.

    Stages: `staged`: the restored data is next to the data directory. `placed`: it is in the data directory, and the
    old data is archived under the suffix `aside`. `open`: its leases are revoked, or kept on purpose, so clients may
    connect. `done`: the member was proved healthy. `undo`: an undo has begun.
    `undone`: the old data is in the data directory again. `joined`: the member joined after the restore, and its marker
    has this entry from the markers of the other members.

    `sha256` is the hash of the snapshot file. `bump` was added to its revision. `former` are the tokens of the
    superseded clusters. A host whose marker has one of these tokens belongs to a superseded cluster.
    `undoes` is set if this restore undoes another one: the suffix of the archived data that the snapshot is from.
    `again` is set if an attempt of this restore was abandoned: the suffix under which the data of that attempt is
    archived. `members` is the digest of the member list in the restored data, until the restore is complete. It is
    empty in markers of earlier versions.
    """

    sha256: str
    stage: str
    aside: str
    bump: int = 0
    former: tuple[str, ...] = ()
    undoes: str = ""
    again: str = ""
    members: str = ""


@dataclass(frozen=True)
class Marker:
    """The marker on a host: which cluster and member the host belongs to.

    `formed` is True after the member was proved healthy in a cluster (rules 6, 7). `replaces` is the ID, in
    hexadecimal, of the member that the new member on this host must replace. `mount` says that the data directory was a
    mount point when the marker was written. `endpoints` are the client URLs that clients may know. `etcd_name` is the
    name of the member in etcd, if it is not `member`. `adopted` is set until the take-over of a cluster that
    another tool made is finished: one of ADOPTED_STAGES. `settings` is then the digest of the settings of
    cluster.yaml that its member has (adopt/marker.py).
    """

    cluster: str
    member: str
    token: str
    data_dir: str
    formed: bool
    replaces: str = ""
    mount: bool = False
    restored: Restored | None = None
    endpoints: tuple[str, ...] = ()
    etcd_name: str = ""
    adopted: str = ""
    settings: str = ""

    @property
    def member_name(self) -> str:
        """Return the name of the member in etcd."""
        return self.etcd_name or self.member

    def former(self, token: str) -> tuple[str, ...]:
        """Return the tokens of the clusters that a cluster with this token supersedes on the host."""
        earlier = (*(self.restored.former if self.restored else ()), self.token)
        return tuple(each for each in dict.fromkeys(earlier) if each != token)

    @property
    def is_being_restored(self) -> bool:
        """Return True if a restore, or its undo, has begun and is not finished."""
        return self.restored is not None and self.restored.stage not in ("done", "undone", "joined")
