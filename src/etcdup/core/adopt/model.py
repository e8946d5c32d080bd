"""What an inspection of a host reads of an etcd that etcdup did not start. Frozen.

Everything here is from the host: it counts for that host only, and every text of it is untrusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from etcdup.core.certs.inventory import CertFacts
from etcdup.core.observed.connections import HostConnections
from etcdup.core.observed.marker import Marker
from etcdup.core.observed.member import ListedMember
from etcdup.core.spec.version import Version


@dataclass(frozen=True)
class ConfigFile:
    """The configuration file of a process, as it is now. The process read it when it started."""

    path: str
    changed_at: int
    text: str


@dataclass(frozen=True)
class Unit:
    """The unit of a process: its name and its properties, as `systemctl show` prints them."""

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)

    def paths(self, key: str) -> tuple[str, ...]:
        """Return the paths of a property, for example DropInPaths."""
        return tuple(word for word in self.properties.get(key, "").split() if word.startswith("/"))


@dataclass(frozen=True)
class Container:
    """A container of docker or podman, as the engine describes it. `name` is empty if the engine does not have it.

    `restart` is the restart policy, as the engine accepts it. `is_removed`: the engine deletes the container when it
    stops. `prevents` says what keeps the engine from starting it again: `update` of the policy, or `stop`; with `boot`,
    neither does. `units` start it.
    """

    engine: str
    id: str
    name: str = ""
    restart: str = ""
    is_removed: bool = False
    prevents: str = ""
    units: tuple[str, ...] = ()


@dataclass(frozen=True)
class StaticPod:
    """What the kubelet of a pod is, and where it has the pod.

    `kubelet` is its unit, empty if no unit starts a kubelet of the host. `manifests` are the files of static pods that
    have all arguments of the process. The kubelet has the directory `folder` as long as it can start the pod. `group`
    is the cgroup of the container.
    """

    kubelet: str = ""
    manifests: tuple[str, ...] = ()
    folder: str = ""
    group: str = ""


@dataclass(frozen=True)
class Process:
    """A process named etcd. `container` is its cgroup, empty if it runs on the host itself.

    `variables` are only those that etcd or Go reads. `mounts` are directory on the host and mount point of each mount,
    if it has mounts of its own. The directory is empty if the host has it nowhere.
    """

    pid: int
    exe: str
    cwd: str
    user: str
    started_at: int
    argv: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    unit: Unit | None = None
    container: str = ""
    engine: Container | None = None
    pod: StaticPod | None = None
    has_own_network: bool = False
    mounts: tuple[tuple[str, str], ...] = ()
    config: ConfigFile | None = None
    packages: tuple[str, ...] = ()

    @property
    def is_pod(self) -> bool:
        """Whether the kubelet runs it."""
        return self.pod is not None or "kubepods" in self.container

    @property
    def container_name(self) -> str:
        """The name that the engine has. Otherwise the last part of the cgroup: the ID of the container, mostly."""
        if self.engine and self.engine.name:
            return f"{self.engine.name} of {self.engine.engine}"
        return self.container.rpartition("/")[2][:64]

    @property
    def root(self) -> str:
        """Where the files of the process are, as root on the host sees them."""
        return f"/proc/{self.pid}/root" if self.container else ""


@dataclass(frozen=True)
class Owners:
    """What else on the host can start, stop or change etcd: paths and names."""

    manifests: tuple[str, ...] = ()
    apiserver_etcd: str = ""
    timers: tuple[str, ...] = ()
    cron: tuple[str, ...] = ()
    ansible: tuple[str, ...] = ()
    juju: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostProcesses:
    """The processes of a host, and what else manages etcd there. `embedded` are programs that contain an etcd."""

    host: str
    hostname: str
    processes: tuple[Process, ...]
    owners: Owners = field(default_factory=Owners)
    embedded: tuple[str, ...] = ()
    marker: Marker | None = None


@dataclass(frozen=True)
class Folder:
    """A directory with data: where it really is, its owner, and the mount point that it is on."""

    real: str
    mode: str
    owner: str
    mount: str


@dataclass(frozen=True)
class Answer:
    """What the member on a host answered on its peer port. `why` says why it did not answer."""

    cluster_id: str = ""
    members: tuple[ListedMember, ...] = ()
    version: Version | None = None
    why: str = ""


@dataclass(frozen=True)
class Inspected:
    """A host with one member: everything that the draft is made of.

    `keys` are the paths of key files that exist. Their content is never read. `faults` say what could not be read.
    """

    first: HostProcesses
    process: Process
    answer: Answer
    certs: Mapping[str, tuple[CertFacts, ...]] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()
    folders: Mapping[str, Folder] = field(default_factory=dict)
    connections: HostConnections = field(default_factory=HostConnections)
    faults: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        return self.first.host


class Unreadable(ValueError):
    """Something that was read on a host is not what the programs there write. The text says what, and is safe."""
