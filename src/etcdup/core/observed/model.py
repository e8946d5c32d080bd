"""What was seen, when and from where. Frozen; unreachable and unknown are values of the type.

Built by ops/world/observe.py from the probe's output (probe.py, parse_probe.py), etcd's own answers
(remote/etcd/grpc_client.py) and the operator's PKI (ops/pki/pki.py). Nothing here is a wish: the running version
comes from the running process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.version import Version

# How the name of everything begins that etcdup moved aside.
ASIDE_PREFIX = "aside-"


def aside_suffix(at: datetime) -> str:
    """The suffix under which data is moved aside at that time."""
    return f"{ASIDE_PREFIX}{at:%Y%m%dT%H%M%SZ}"


@dataclass(frozen=True)
class Unreachable:
    """No working connection, or no root on it. Not the same as down (rule 62)."""

    host: str
    why: str
    hint: str = ""


@dataclass(frozen=True)
class FileSeen:
    """A file on a host. `text` is there for files that hold no secret; a key is known by its sha256 alone."""

    path: str
    sha256: str
    mode: int
    owner: str
    text: str | None = None


@dataclass(frozen=True)
class DirSeen:
    """A data or WAL directory. `entries` are the names in it, None where there is no directory.

    `has_wal`: a write-ahead log is in it. Without one etcd takes a member for a new one, whatever else is there.
    """

    path: str
    entries: tuple[str, ...] | None
    owner: str = ""
    mode: int = 0
    mount: bool = False
    filesystem: str = ""
    free_bytes: int = 0
    has_wal: bool = False

    @property
    def is_empty(self) -> bool:
        """Nothing of anybody's is in it. A fresh file system's `lost+found` does not count, nor what an earlier
        destroy set aside on a mount point."""
        return all(name == "lost+found" or name.startswith(ASIDE_PREFIX) for name in self.entries or ())


@dataclass(frozen=True)
class UnitSeen:
    """etcd.service, in systemd's words, and the process it runs.

    `environment` holds the running process's ETCD_* and ETCDUP_* variables: what it really runs with, whatever
    the files say by now. `exe` is its binary.
    """

    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    main_pid: int = 0
    restarts: int = 0
    needs_reload: bool = False
    exe: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_running(self) -> bool:
        """A process that systemd has forked, and that has yet to become etcd, does not count."""
        forked = self.exe.rsplit("/", 1)[-1].startswith("systemd")
        return self.main_pid > 0 and not forked and self.active in ("active", "activating", "reloading")

    @property
    def is_starting(self) -> bool:
        """systemd is at it: what it runs before etcd, or etcd itself. A wait for the next try does not count."""
        return self.active == "activating" and self.sub in ("start-pre", "start")


@dataclass(frozen=True)
class Restored:
    """A restore on this host: of which file, how far it is, and what it put aside.

    `staged`: the restored data lies beside what runs. `placed`: it is in the data directory, and the old data
    lies under the suffix `aside`. `done`: proved healthy. `undo`: the old data is on its way back; `undone`: it is
    there again. `joined`: this member came after it, and knows of it from the others. `bump` was added to the
    snapshot's revision. `former` are the tokens of the clusters whose place this one took: whoever still bears one of
    them is of the past.
    """

    sha256: str
    stage: str
    aside: str
    bump: int = 0
    former: tuple[str, ...] = ()


@dataclass(frozen=True)
class Marker:
    """Our mark on a host: whose data this is.

    `formed` once this member was seen healthy in a cluster that exists (rules 6, 7). `replaces` is the ID, in
    hexadecimal, of the member whose place this host's new member shall take. `mount`: its data directory was a
    mount point then.
    """

    cluster: str
    member: str
    token: str
    data_dir: str
    formed: bool
    replaces: str = ""
    mount: bool = False
    restored: Restored | None = None

    def former(self, token: str) -> tuple[str, ...]:
        """The tokens of the clusters whose place one with this token takes on the host."""
        before = (*(self.restored.former if self.restored else ()), self.token)
        return tuple(each for each in dict.fromkeys(before) if each != token)

    @property
    def is_being_restored(self) -> bool:
        return self.restored is not None and self.restored.stage not in ("done", "undone", "joined")


@dataclass(frozen=True)
class ListeningPort:
    """A TCP port somebody listens on; `program` is empty where it could not be told."""

    port: int
    pid: int = 0
    program: str = ""


@dataclass(frozen=True)
class HostSeen:
    """One reachable host."""

    host: str
    arch: str
    distribution: str
    distribution_version: str
    hostname: str
    machine_id: str
    systemd: bool
    clock_ahead_s: float
    etcd_user: bool
    opt_free_bytes: int
    data: DirSeen
    wal: DirSeen | None
    files: Mapping[str, FileSeen]
    unit: UnitSeen
    other_units: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    current: str = ""
    marker: Marker | None = None
    listening: tuple[ListeningPort, ...] = ()
    joining: bool = False
    is_root: bool = True
    near: bool = False
    """Whether bytes reach it sooner than it unpacks them."""

    def is_marked(self, cluster: str) -> bool:
        """Whether our mark says that this is where that cluster's member of this name lives."""
        mark = self.marker
        return mark is not None and (mark.cluster, mark.member) == (cluster, self.host)

    def marker_of(self, cluster: str) -> Marker | None:
        """Return the marker if it names this cluster, whichever member it names; otherwise None."""
        return self.marker if self.marker is not None and self.marker.cluster == cluster else None

    @property
    def has_member(self) -> bool:
        """Whether etcd would go on as the member that it was, rather than start empty (rules 7, 32)."""
        return (self.wal or self.data).has_wal


@dataclass(frozen=True)
class ListedMember:
    """A member as a member list has it. An empty name means added but never started."""

    member_id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True)
class MemberSeen:
    """A member that answered its API. `alarms` are `KIND` or `KIND on member ID`, of the whole cluster.

    `storage_version` is the minor whose form the data has, like `3.6.0`; `downgrade_to` the minor that the
    cluster is on its way down to, like `3.5.0`. Both are told from 3.6 on, and empty where there is none.
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


@dataclass(frozen=True)
class MemberSilent:
    """A member whose API gave no answer, and why. `lasting`: waiting alone will not help, as with a certificate
    that one side does not accept."""

    why: str
    hint: str = ""
    lasting: bool = False


@dataclass(frozen=True)
class CertSeen:
    """A certificate's public facts. Names of extended key usages are `serverAuth` and `clientAuth`.

    `sha256` is of the whole file, `fingerprint` of the certificate, `issuer_key` and `key` of the public keys that
    signed it and that it holds.
    """

    path: str
    sha256: str
    fingerprint: str
    common_name: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    usages: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issuer_key: str
    key: str
    is_ca: bool


@dataclass(frozen=True)
class PkiSeen:
    """The operator's certificates. Keys of `certs` are `server/infra1`, `peer/infra1`, `health/infra1`, `admin`.

    `files` maps a certificate's role to the sha256 of its PEM file and of its key file as they go to hosts;
    `trust` maps `ca` and `peer-ca` to the sha256 of the CA file, which holds the certificates of `trusted`: one CA, or
    two while one takes over from the other. `successor` is the CA that takes over, None where none does; `past`
    are the sha256 of the CA files that there were before.
    """

    mode: str
    ca: CertSeen | None = None
    certs: Mapping[str, CertSeen] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    trust: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[CertSeen, ...] = ()
    successor: CertSeen | None = None
    past: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Binaries:
    """Where the wanted version comes from: settled before planning, so that the plan can say it.

    `source` is cache, release, package, go or path; `why` says why that one; `sha256` is the archive's by
    architecture, empty for packages, which the host's own package manager verifies.
    """

    version: Version
    source: str
    origin: str
    why: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_vouched(self) -> bool:
        """The operator or a distribution stands for these binaries: they may carry patches we cannot see."""
        return self.source in ("package", "path")


@dataclass(frozen=True)
class SnapshotSeen:
    """A verified snapshot in the operator's folder, taken before the cluster changed its minor. `hop` says which
    way, like `3.5-to-3.6`; `size` is in bytes."""

    path: str
    cluster: str
    hop: str
    taken_at: datetime
    size: int


@dataclass(frozen=True)
class Observed:
    """The world at one moment. Every host and every member of the Spec has an entry.

    So has every member that the cluster has beyond them: `leaving` says where those run. `auth` is whether
    etcd's own users are in force, None where nobody was asked. `turned_away` are, by member, the addresses of clients
    that it refused of late because the old CA signed their certificate: asked while that CA is being dropped.
    """

    at: datetime
    hosts: Mapping[str, HostSeen | Unreachable]
    members: Mapping[str, MemberSeen | MemberSilent]
    pki: PkiSeen
    binaries: tuple[Binaries, ...] = ()
    leaving: Mapping[str, HostSpec] = field(default_factory=dict)
    snapshots: tuple[SnapshotSeen, ...] = ()
    auth: bool | None = None
    rejected_clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def binaries_of(self, version: Version) -> Binaries | None:
        """Where this version comes from; None where every host has it already."""
        return next((each for each in self.binaries if each.version == version), None)

    def reachable(self) -> dict[str, HostSeen]:
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, HostSeen)}

    def unreachable(self) -> dict[str, Unreachable]:
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, Unreachable)}

    def answering(self) -> dict[str, MemberSeen]:
        """Members whose API answered: the only evidence that a cluster exists and runs."""
        return {name: seen for name, seen in self.members.items() if isinstance(seen, MemberSeen)}
