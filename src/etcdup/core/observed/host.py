"""One observed host, or why it could not be observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from etcdup.core.observed.directory import DirSeen, FileSeen, FolderSeen, PathFault, Space
from etcdup.core.observed.marker import ADOPTED_TOKEN, Marker
from etcdup.core.observed.unit import DropIn, UnitSeen


@dataclass(frozen=True)
class Unreachable:
    """A host without a working connection, or without root rights on it. The host may still be up (rule 62).

    `has_unknown_key`: the host offers an SSH key, and known_hosts has no key for its address. `answered`: its sshd
    answered, so the network is not the cause.
    """

    host: str
    why: str
    hint: str = ""
    has_unknown_key: bool = False
    answered: bool = False


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

    @property
    def is_waiting(self) -> bool:
        """Return True if the member on this host waits for its take-over: it runs with files of another tool."""
        return self.is_adopted and self.marker is not None and self.marker.adopted == "waiting"

    @property
    def is_taken(self) -> bool:
        """Return True if etcd runs in the way of etcdup, and the take-over of other hosts is not finished."""
        return self.is_adopted and self.marker is not None and self.marker.adopted == "taken"

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
