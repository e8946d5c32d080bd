"""One member: as the member list has it, and as its own API reports it."""

from dataclasses import dataclass

from etcdup.core.spec.version import Version


@dataclass(frozen=True)
class ListedMember:
    """A member in the member list. An empty name means that it was added but has never started.

    `former_host` is then the former host that has the address of its peer URL, if there is exactly one.

    `name` is the name of its host in cluster.yaml, if it has one (members/member_list.py), and `etcd_name` is the name
    that etcd reports, if it differs.
    """

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool
    former_host: str = ""
    etcd_name: str = ""

    @property
    def listed_name(self) -> str:
        """Return the name that etcd reports."""
        return self.etcd_name or self.name


@dataclass(frozen=True)
class MemberSeen:
    """A member that answered over its API. `alarms` are those of the whole cluster: `KIND` or `KIND on member ID`.

    `storage_version` is the minor whose format the data has, for example `3.6.0`. `downgrade_to` is the target of an
    enabled downgrade, for example `3.5.0`. `db_quota` is the quota of its process in bytes. etcd reports these from 3.6
    on. They are empty, or 0, if etcd reports none. `revision` is the newest revision of its store.
    """

    member_id: int
    cluster_id: int
    version: Version
    leader_id: int
    raft_term: int
    raft_index: int
    applied_index: int
    db_size: int
    db_in_use: int
    is_learner: bool
    members: tuple[ListedMember, ...]
    alarms: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    storage_version: str = ""
    downgrade_to: str = ""
    db_quota: int = 0
    revision: int = 0


@dataclass(frozen=True)
class MemberSilent:
    """A member that did not answer over its API, and why.

    `lasting` says that waiting does not help, for example when one side rejects the certificate of the other.
    """

    why: str
    hint: str = ""
    lasting: bool = False
