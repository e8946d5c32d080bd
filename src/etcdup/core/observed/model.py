"""The observation of hosts, members and PKI at one time. Frozen; "unreachable" and "silent" are values too.

ops/world/observe.py builds it from the output of the probe (probe.py, parse_probe.py), from etcd's API
(remote/etcd/grpc_client.py) and from the operator's PKI (ops/pki/pki.py). It contains only observed facts, no required
state. For example, the running version comes from the running process, not from cluster.yaml.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from urllib.parse import urlsplit

from etcdup.core.observed.activity import Activity
from etcdup.core.spec.model import HostSpec
from etcdup.core.spec.version import Version

# Archived data is named NAME.aside-TIME. On a mount point it is in a directory aside-TIME.
ASIDE_PREFIX = "aside-"


def aside_suffix(at: datetime) -> str:
    """Return the suffix `aside-TIME` of data that is archived at this time."""
    return f"{ASIDE_PREFIX}{at:%Y%m%dT%H%M%SZ}"


@dataclass(frozen=True)
class Unreachable:
    """A host without a working connection, or without root rights on it. The host may still be up (rule 62).

    `has_unknown_key`: the host offers an SSH key, and known_hosts has no key for its address.
    """

    host: str
    why: str
    hint: str = ""
    has_unknown_key: bool = False


@dataclass(frozen=True)
class FileSeen:
    """A file on a host. `text` is set for files without secrets; of a key, only the sha256 is read."""

    path: str
    sha256: str
    mode: int
    owner: str
    text: str | None = None


@dataclass(frozen=True)
class DirSeen:
    """A data or WAL directory. `entries` are the names in it, or None if the directory does not exist.

    `has_wal` says that it contains a write-ahead log. Without one, etcd starts as a new member, even if other data
    exists.
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
        """Return True if the directory has no data, or does not exist.

        `lost+found` of a new file system does not count as data, nor does data that etcdup archived on a mount point.
        """
        return all(name == "lost+found" or name.startswith(ASIDE_PREFIX) for name in self.entries or ())


@dataclass(frozen=True)
class FolderSeen:
    """The mode and the owner of a directory that etcdup or etcd uses."""

    path: str
    mode: int
    owner: str


@dataclass(frozen=True)
class UnitSeen:
    """The state of etcd.service as systemd reports it, and its process.

    `environment` has the ETCD_* and ETCDUP_* variables of the running process. They are the settings in use, even if
    the files on disk have changed since. `exe` is the binary of the process.

    `queued` says that a start of the unit waits in systemd's queue for the units `waits_for` (rule 115). `invocation`
    identifies the last start. `restarts` counts the starts that systemd made by itself since the unit was started.
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
    invocation: str = ""
    queued: bool = False
    waits_for: tuple[str, ...] = ()

    @property
    def is_running(self) -> bool:
        """Return True if etcd runs. A process that systemd has forked and that is not etcd yet does not count."""
        forked = self.exe.rsplit("/", 1)[-1].startswith("systemd")
        return self.main_pid > 0 and not forked and self.active in ("active", "activating", "reloading")

    @property
    def is_starting(self) -> bool:
        """Return True if systemd runs ExecStartPre or starts etcd. The delay before a restart does not count."""
        return self.active == "activating" and self.sub in ("start-pre", "start")

    @property
    def is_retrying(self) -> bool:
        """Return True if etcd has exited, and systemd will start it again after a delay.

        The states of that delay are `auto-restart` and, from systemd 254 on, others that contain this word.
        """
        return "auto-restart" in self.sub

    @property
    def is_coming_up(self) -> bool:
        """Return True if systemd starts etcd or will start it by itself, and etcd is not ready yet."""
        return self.queued or self.is_retrying or self.active == "activating"

    @property
    def has_failed(self) -> bool:
        """Return True if etcd has exited with an error since it was started, and has not become ready after that."""
        again = self.active == "activating" and self.restarts > 0
        return not self.queued and (self.is_retrying or self.active == "failed" or again)

    @property
    def running_version(self) -> str:
        """Return the version that the process runs, from the directory of its binary. Empty if there is no process."""
        # /proc shows a binary that was replaced since the start as `PATH (deleted)`.
        return "".join(self.exe.removesuffix(" (deleted)").split("/")[-2:-1])


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
    archived.
    """

    sha256: str
    stage: str
    aside: str
    bump: int = 0
    former: tuple[str, ...] = ()
    undoes: str = ""
    again: str = ""


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


@dataclass(frozen=True)
class PathFault:
    """A path that etcdup cannot use as it is.

    Kinds: `link`: a data or log directory is a link, to `detail`. `read-only`, `noexec`: the mount point `detail` has
    this option, and the path is or will be below it. `foreign`: a program that etcdup did not make is at a path that
    etcdup uses. `not-directory`: the path must be a directory, and `detail`, which is the path or above it, is none.
    `not-link`: the path must be a link. `no-etcd`: a directory of a version has no program etcd.
    """

    kind: str
    path: str
    detail: str = ""


@dataclass(frozen=True)
class DropIn:
    """A file that adds to etcd.service: the names of the variables and of the other options that it sets."""

    path: str
    variables: tuple[str, ...]
    options: tuple[str, ...]

    @property
    def is_general(self) -> bool:
        """Return whether it is for every service."""
        return "/service.d/" in self.path


@dataclass(frozen=True)
class Space:
    """What is free on the file system of a path. `free_inodes` is None if the file system has no limit of inodes."""

    free_bytes: int
    free_inodes: int | None = None


@dataclass(frozen=True)
class ListeningPort:
    """A TCP port in use. `program` is the process that listens on it; empty if it is not known."""

    port: int
    pid: int = 0
    program: str = ""


@dataclass(frozen=True)
class HostSeen:
    """One reachable host.

    `pki_change` is the change of the PKI whose certificates it has; empty if not known. `is_unproved` says that files
    were written which are not proved yet: the host keeps the previous ones (core/host/unproved.py).
    """

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
    # The next start of etcd does not check the startup fence (core/host/startup_fence.py).
    fence_disabled: bool = False
    is_root: bool = True
    boot_id: str = ""
    pki_change: str = ""
    is_unproved: bool = False
    # Why etcdup could not connect to the client port if etcd ran. It is only observed while etcd does not run.
    no_route: Unreachable | None = None
    folders: Mapping[str, FolderSeen] = field(default_factory=dict)
    path_faults: tuple[PathFault, ...] = ()
    # Programs of core/host/programs.py that the host does not have.
    missing_programs: frozenset[str] = frozenset()
    # The directories that etcdup writes to, only on a host without a marker.
    spaces: Mapping[str, Space] = field(default_factory=dict)
    # Whether an interface has the address that etcd has to listen on. True also if that is not known.
    has_listen_address: bool = True
    drop_ins: tuple[DropIn, ...] = ()
    # The variables of etcd that systemd gives to every service. They are read only while etcd does not run.
    manager_variables: tuple[str, ...] = ()
    # Users other than root can open this port and the ports above it.
    first_free_port: int = 1024
    # The directories that etcdup archived.
    archives: tuple[str, ...] = ()

    def is_marked(self, cluster: str) -> bool:
        """Return True if the marker says that the host has this cluster's member of the same name."""
        marker = self.marker_of(cluster)
        return marker is not None and marker.member == self.host

    @property
    def is_adopted(self) -> bool:
        """Return True if the take-over of the cluster is not finished: another tool installed its members.

        All hosts of such a cluster have its token, so one host alone cannot say this of a cluster that etcdup formed.
        """
        marker = self.marker
        return marker is not None and bool(marker.adopted) and marker.token.startswith(ADOPTED_TOKEN)

    def marker_of(self, cluster: str) -> Marker | None:
        """Return the marker if it names this cluster, whichever member it names; otherwise None."""
        return self.marker if self.marker is not None and self.marker.cluster == cluster else None

    @property
    def machine(self) -> tuple[str, str] | None:
        """Return the identity of the machine, or None if it is not known.

        Cloned machines have the same machine-id. The kernel makes a new boot-id at each boot.
        """
        known = self.machine_id not in ("", "unknown") and self.boot_id not in ("", "unknown")
        return (self.machine_id, self.boot_id) if known else None

    @property
    def has_member(self) -> bool:
        """Return True if etcd would start as the existing member, not as a new one without data (rules 7, 32)."""
        return (self.wal or self.data).has_wal


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


@dataclass(frozen=True)
class CertSeen:
    """The public content of a certificate. Extended key usages are named `serverAuth` and `clientAuth`.

    `sha256` is the hash of the whole file, `fingerprint` the hash of the certificate. `issuer_key` is the hash of the
    public key that signed it, `key` the hash of its own public key. `serial` is hexadecimal. `is_revoked` says whether
    the revocation list of this PKI contains it.
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
    serial: str = ""
    is_revoked: bool = False

    @property
    def first_address(self) -> str:
        """Return the first address; empty if there is none. In a server certificate, it is the address of the host."""
        return next(iter((*self.addresses, *self.dns_names)), "")


@dataclass(frozen=True)
class CrlSeen:
    """The public facts of a certificate revocation list (CRL).

    `sha256` is the hash of the content that hosts get. `number` grows with each new list; 0 if the list has none.
    `issuer_key` is the hash of the public key that signed it; empty if that is no trusted CA. `revoked` are serial
    numbers, in hex.
    """

    sha256: str
    number: int
    this_update: datetime
    next_update: datetime | None
    issuer_key: str
    revoked: frozenset[str]


@dataclass(frozen=True)
class PkiSeen:
    """The operator's certificates. Keys of `certs` are roles: `server/infra1`, `peer/infra1`, `health/infra1`, `admin`.

    `files` maps a role to the sha256 of its certificate file and of its key file, as they are sent to hosts. `trust`
    maps `ca` and `peer-ca` to the sha256 of the CA file. The CA file contains the certificates of `trusted`: one CA, or
    two during a CA rotation. `successor` is the new CA of a rotation, or None. `past` has the sha256 of previous CA
    files. `changes` are the names of all changes of this directory, the last one at the end (certs/generation.py).
    `crls` has the revocation lists for clients (`crl`) and for peers (`peer-crl`), as far as they exist. `former` has
    the archived certificates of members: `former/infra3/server` of a member that left or was replaced, and
    `renewed/infra3/server-HASH` of a present one. `cannot_sign` is why etcdup cannot use the CA key, or empty.
    `shared` are the members whose present certificates a replaced member has, too: it was replaced without the CA key.
    `with_peer_names` is False while a member may have a peer certificate without the common name of peers: one that
    another tool made (members/waiting.py).
    """

    mode: str
    ca: CertSeen | None = None
    certs: Mapping[str, CertSeen] = field(default_factory=dict)
    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    trust: Mapping[str, str] = field(default_factory=dict)
    trusted: tuple[CertSeen, ...] = ()
    successor: CertSeen | None = None
    past: frozenset[str] = frozenset()
    changes: tuple[str, ...] = ()
    crls: Mapping[str, CrlSeen] = field(default_factory=dict)
    with_peer_names: bool = True
    former: Mapping[str, CertSeen] = field(default_factory=dict)
    cannot_sign: str = ""
    shared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Binaries:
    """The source of the required version. It is chosen before planning, so that the plan can show it.

    `source` is cache, release, package, go or path, and `why` is the reason for this choice. `sha256` maps an
    architecture to the hash of its archive. It is empty for packages, which the package manager of the host verifies.
    """

    version: Version
    source: str
    origin: str
    why: str
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_vouched(self) -> bool:
        """Return True if the operator or a distribution provides the binaries. They may have additional patches."""
        return self.source in ("package", "path")


@dataclass(frozen=True)
class SnapshotSeen:
    """A verified snapshot on the operator's machine, taken before the cluster changed its minor.

    `hop` is the change, for example `3.5-to-3.6`. `size` is in bytes.
    """

    path: str
    cluster: str
    hop: str
    taken_at: datetime
    size: int


@dataclass(frozen=True, order=True)
class Client:
    """A program with a connection to a client port. Neither etcd nor the kernel reports its certificate.

    The program and its process ID are known only on the hosts of the cluster. Elsewhere, all clients with one address
    are one Client.
    """

    address: str
    program: str = ""
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.address} ({self.program}, pid {self.pid})" if self.program else self.address


@dataclass(frozen=True)
class BlockedPort:
    """A TCP port of a host that another host does not reach, and why. A refused connection counts as reached."""

    source: str
    target: str
    port: int
    why: str


@dataclass(frozen=True)
class Observed:
    """Everything that etcdup read from hosts, members and the PKI, at one time.

    Each host and member of the Spec has an entry, and so has each further member of the cluster. `leaving` has the
    hosts of those further members. `auth` says whether etcd's user authentication is enabled; None means not known.
    `denied` is the error with which etcd refuses etcdup a request of an administrator; empty if etcd accepts it.
    `rejected_clients` maps a member to the addresses of clients that it rejected recently, because the old CA signed
    their certificates. `clients` are the clients that are connected to each member, and `proved_clients` those that
    this run saw on a member without the old CA. All three are read only while a rotation drops the old CA; `clients`
    also while cluster.yaml replaces all endpoints.
    `superseded` are the tokens of clusters that a restore or a recovery from this machine replaced.
    `lock_holder` is the other run that holds the lock of a host; empty if there is none, or if it was not read.
    `other_leaves` maps a host to the server certificate on its disk, if a CA of the PKI signed it and it is not the
    certificate in the PKI.
    `blocked_ports` are tried only if a host of cluster.yaml has no marker, or if its member moves. `firewalls` has the
    firewall of a host then: `firewalld` or `ufw`.
    """

    at: datetime
    hosts: Mapping[str, HostSeen | Unreachable]
    members: Mapping[str, MemberSeen | MemberSilent]
    pki: PkiSeen
    binaries: tuple[Binaries, ...] = ()
    leaving: Mapping[str, HostSpec] = field(default_factory=dict)
    snapshots: tuple[SnapshotSeen, ...] = ()
    auth: bool | None = None
    denied: str = ""
    rejected_clients: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    clients: Mapping[str, tuple[Client, ...]] = field(default_factory=dict)
    proved_clients: frozenset[Client] = frozenset()
    other_leaves: Mapping[str, CertSeen] = field(default_factory=dict)
    superseded: frozenset[str] = frozenset()
    blocked_ports: tuple[BlockedPort, ...] = ()
    firewalls: Mapping[str, str] = field(default_factory=dict)
    lock_holder: str = ""
    # What members do with their databases. It is read only before a backup or a defragmentation.
    activity: Mapping[str, Activity] = field(default_factory=dict)
    # The member that `maintain repair` handles. Its run has compared the data of all members, so that a CORRUPT alarm
    # forbids it no step.
    repaired: str = ""

    @cached_property
    def member_list(self) -> tuple[ListedMember, ...]:
        """The member list of most members that answer; empty if no voter answered. A learner returns no list.

        Without a majority it is the newest list. A member reports its own term, so it alone does not decide.

        A member that never started has no name, and others can have a name in etcd that is not that of the host. If the
        peer URL has the address of a former host, the member is of that host: one machine is one host.
        """
        answers = [seen for seen in self.answering().values() if seen.members]
        if not answers:
            return ()
        newest = max(answers, key=lambda seen: (seen.raft_term, seen.applied_index)).members
        members = self._majority_list or newest
        return tuple(map(self._with_former_host, members))

    @cached_property
    def dissenting(self) -> tuple[str, ...]:
        """The members whose member list has other members or addresses than that of most members."""
        common = self._majority_list
        return tuple(
            name
            for name, seen in sorted(self.answering().items())
            if common and seen.members and seen.members != common
        )

    @cached_property
    def _majority_list(self) -> tuple[ListedMember, ...]:
        """The member list that most answers have; empty if no list has a majority."""
        lists = Counter(seen.members for seen in self.answering().values() if seen.members)
        return next((members for members, count in lists.items() if 2 * count > lists.total()), ())

    def _with_former_host(self, member: ListedMember) -> ListedMember:
        in_file = self.hosts.keys() - self.leaving.keys()
        if member.name in in_file or f"server/{member.name}" in self.pki.certs:
            return member
        names = [
            name
            for role, cert in self.pki.certs.items()
            if (name := role.removeprefix("server/")) != role
            and name not in in_file
            and any(_address_in(url) == cert.first_address for url in member.peer_urls)
        ]
        if len(names) != 1:
            return member
        if not member.name:
            return replace(member, former_host=names[0])
        return replace(member, name=names[0], etcd_name=member.listed_name)

    @property
    def adopted(self) -> tuple[str, ...]:
        """The hosts of an adopted cluster whose take-over is not finished."""
        return tuple(name for name, seen in sorted(self.reachable().items()) if seen.is_adopted)

    def with_pki(self, pki: PkiSeen) -> "Observed":
        """Return this observation with a new one of the PKI. `with_peer_names` depends on the hosts, so it stays."""
        return replace(self, pki=replace(pki, with_peer_names=self.pki.with_peer_names))

    def binaries_of(self, version: Version) -> Binaries | None:
        """Return the source of this version, or None if all hosts have it already."""
        return next((each for each in self.binaries if each.version == version), None)

    def reachable(self) -> dict[str, HostSeen]:
        """Return the hosts that were observed."""
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, HostSeen)}

    def running(self) -> dict[str, HostSeen]:
        """Return the observed hosts whose unit runs etcd."""
        return {name: seen for name, seen in self.reachable().items() if seen.unit.is_running}

    def unreachable(self) -> dict[str, Unreachable]:
        """Return the hosts that could not be observed."""
        return {name: seen for name, seen in self.hosts.items() if isinstance(seen, Unreachable)}

    def answering(self) -> dict[str, MemberSeen]:
        """Return the members that answered over their API. Only they prove that the cluster exists and runs."""
        return {name: seen for name, seen in self.members.items() if isinstance(seen, MemberSeen)}


def _address_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
