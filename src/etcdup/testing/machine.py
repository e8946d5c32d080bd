"""One machine in memory: its files, its unit, its etcd process and its power."""

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import PurePosixPath
from typing import Protocol

from cryptography import x509

from etcdup.core.spec.version import Version, parse_version
from etcdup.testing.cluster import FakeCluster, FakeClusters, FakeMember

UNIT = "/etc/systemd/system/etcd.service"
# What is loaded in place of a unit on a machine where docker runs the etcd of another tool.
CONTAINER = b"container"
# The same for a machine whose kubelet runs this etcd as a static pod.
STATIC_POD = b"static-pod"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
# The directory of the keys of a member that only etcdup can reach.
CLOSED = "/run/etcdup/closed"

# Exit status, stdout and stderr of a command.
Answer = tuple[int, str, str]
Command = Callable[["FakeMachine", tuple[str, ...], bytes], Answer]


@cache
def _why_not_parsed(pem: bytes) -> str:
    """Return why Go does not parse the certificate. It parses each URI, and x509 does not."""
    try:
        names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
    except ValueError:
        return "tls: failed to find any PEM data in certificate input"
    except x509.ExtensionNotFound:
        return ""
    bad = [uri for uri in names.value.get_values_for_type(x509.UniformResourceIdentifier) if "[" in uri]
    return f'x509: cannot parse URI "{bad[0]}"' if bad else ""


class Killed(BaseException):
    """etcdup was killed at this command; nothing after it happens."""


class GatewayClient(Protocol):
    """What machines use of FakeGatewayClient."""

    address: str
    machine: str
    program: str
    pid: int
    port: int
    member: str
    process: "FakeProcess | None"

    def keep_connected(self, network: "Network") -> None: ...


class Network(Protocol):
    """What a machine and its processes use of FakeNetwork."""

    @property
    def machines(self) -> Mapping[str, "FakeMachine"]: ...

    @property
    def etcd(self) -> FakeClusters: ...

    @property
    def killed(self) -> bool: ...

    @property
    def clients(self) -> Sequence["GatewayClient"]: ...

    def now(self) -> float:
        """Return the virtual time, in seconds since the epoch."""
        ...

    def now_text(self) -> str:
        """Return the virtual time as in a log line of etcd."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    @property
    def changes_need_lock(self) -> bool: ...

    @property
    def any_program(self) -> bool: ...

    def confirm_lock(self) -> None:
        """Note that a host has confirmed the lock."""
        ...

    def require_confirmed_lock(self, call: str) -> None:
        """Fail the test unless a host confirmed the lock right before this call."""
        ...

    def end_round_trip(self) -> None:
        """Note the end of a round trip to a host or of a request, after which another run may act."""
        ...

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Count a command or call that changes something. Raises Killed at the place where etcdup is killed."""
        ...


@dataclass
class Node:
    """A file, a link (`link` is its target) or a directory (`content` and `link` are None)."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755
    owner: str = "root:root"


@dataclass
class FakeProcess:
    """A running etcd: its settings, and the member that it is.

    `ready`: it has published itself through a quorum, and only then serves clients (rule 1). `lost_log`: it has lost
    data that it had acknowledged, and panics when the leader sends its log (rule 32). `ca_file` is the content of its
    CA file at its start: etcd does not read it again (rule 14). `blocked_until` is when a defragmentation ends, and
    `read_until` is when another program has read its snapshot.
    """

    exe: str
    environment: dict[str, str]
    started_at: float
    cluster: FakeCluster
    member_id: int
    lost_log: bool = False
    ready: bool = False
    ca_file: bytes = b""
    blocked_until: float = 0.0
    read_until: float = 0.0

    @cached_property
    def version(self) -> Version:
        """Return the version, which is the name of the directory of the binary."""
        return parse_version(self.exe.split("/")[-2])

    @property
    def member(self) -> FakeMember | None:
        """Return its entry in the member list, or None after it was removed."""
        return self.cluster.members.get(self.member_id)

    @property
    def is_closed(self) -> bool:
        """Return whether only etcdup can reach it (core/host/closed_member.py)."""
        return self.environment.get("ETCD_CERT_FILE", "").startswith(CLOSED)

    @property
    def is_where_listed(self) -> bool:
        """Return whether its peer URLs and those in the member list have one in common (rule 36)."""
        own, member = self.environment.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "").split(","), self.member
        return member is not None and any(url in own for url in member.peer_urls)


@dataclass
class FakeMachine:
    """One machine. commands.py has its commands; the file system is a dict of absolute paths.

    `reachable`: etcdup can connect to it; `isolated`: its peers cannot. `failed_at` is when etcd exited with an error;
    systemd starts it again, and `restarts` counts that. `v2store`: its data contains data of the v2 API, which 3.6 does
    not read (rule 44). `temporary_etcd` is an etcd on a copy of its data. `log_end` is the term and index of the last
    entry in the log of its member, if they differ from those of the cluster. `online_at` is when network-online.target
    is reached: before that, a start of the unit is `queued`. `starts` has the length of `log` at each start of etcd.
    `start_s` is how long etcd reads its data before it answers. `rejects` maps a text in the path of the binary or in
    etcd.conf to the log line with which etcd then exits. `routed`: etcdup can connect to its client port.
    `path_faults` are lines of the probe about file systems. A script that runs one of `missing_programs` fails.
    `defrag_s` is how long a defragmentation takes. `defrag_fails`: the tool on stopped data fails.
    It does not reach the addresses `blocked`, and `firewall` runs on it. Connections between members that started
    before `blocked_at` stay.
    `drop_ins` maps paths to texts with `Environment=NAME=VALUE` lines.
    """

    name: str
    network: Network
    reachable: bool = True
    routed: bool = True
    isolated: bool = False
    powered: bool = True
    arch: str = "x86_64"
    distribution: str = "debian"
    clock_ahead_s: float = 0.0
    free_bytes: int = 20 * 1024**3
    free_inodes: int = 1_000_000
    systemd: bool = True
    ports_taken: dict[int, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=lambda: {"/": Node()})
    mounts: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    enabled: bool = False
    masked: bool = False
    loaded_unit: bytes | None = None
    process: FakeProcess | None = None
    # The process that the unit of another tool starts.
    old_process: FakeProcess | None = None
    temporary_etcd: FakeProcess | None = None
    log_end: tuple[int, int] | None = None
    failed_at: float | None = None
    restarts: int = 0
    online_at: float = 0.0
    queued: bool = False
    starts: list[int] = field(default_factory=list)
    start_s: float = 0.0
    defrag_s: float = 2.0
    defrag_fails: bool = False
    rejects: dict[str, str] = field(default_factory=dict)
    v2store: bool = False
    locks: dict[str, str] = field(default_factory=dict)
    path_faults: list[str] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    blocked_why: str = "No route to host"
    blocked_at: float = 0.0
    firewall: str = ""
    drop_ins: dict[str, str] = field(default_factory=dict)
    manager_environment: dict[str, str] = field(default_factory=dict)
    missing_programs: set[str] = field(default_factory=set)
    has_listen_address: bool = True
    address: str = ""
    boots: int = 0
    log: list[str] = field(default_factory=list)
    cwd: str = "/"

    @property
    def of_unit(self) -> FakeProcess | None:
        """Return the process that etcd.service runs, which is no process of a container or of a pod."""
        return None if self.loaded_unit in (CONTAINER, STATIC_POD) else self.process

    def path(self, name: str) -> str:
        """Return the absolute path of a name in the directory of the command that runs."""
        return str(PurePosixPath(self.cwd) / name)

    def real(self, path: str) -> str:
        """Return the path after following its links, as far as their targets exist."""
        # Tests spend much of their time here, and posixpath is much faster than pathlib.
        node = self.nodes.get(path)
        if node is not None:
            return (
                path if node.link is None else self.real(posixpath.join(posixpath.dirname(path), node.link))
            )
        parent, name = posixpath.split(path)
        if parent != path:
            followed = self.real(parent)
            if followed != parent:
                return posixpath.join(followed, name)
        return path

    def file(self, path: str) -> Node | None:
        node = self.nodes.get(path)
        if node is None or node.link is not None:
            node = self.nodes.get(self.real(path))
        return node if node is not None and node.content is not None else None

    def why_unusable(self, name: str) -> str:
        """Return why etcd cannot use its certificate of this name."""
        node = self.file(f"/etc/etcd/pki/{name}.pem")
        return _why_not_parsed(node.content) if node is not None and node.content is not None else ""

    def is_dir(self, path: str) -> bool:
        node = self.nodes.get(self.real(path))
        return node is not None and node.content is None

    def children(self, path: str) -> list[str]:
        """Return the names in a directory, sorted."""
        start = self.real(path).rstrip("/") + "/"
        below = (each[len(start) :] for each in self.nodes if each.startswith(start) and each != "/")
        return sorted({name.split("/")[0] for name in below})

    def make_dir(self, path: str) -> None:
        for parent in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
            self.nodes.setdefault(str(parent), Node())

    def put(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """Write a file and its parent directories, for tests that prepare a machine."""
        self.make_dir(str(PurePosixPath(path).parent))
        self.nodes[path] = Node(content, mode=mode, owner=owner)

    def put_data(self, path: str, content: bytes) -> None:
        """Write a file of etcd, which makes the parent directories, as user etcd."""
        before = set(self.nodes)
        self.put(path, content, 0o600)
        for made in self.nodes.keys() - before:
            self.nodes[made].owner = "etcd:etcd"

    def move(self, source: str, target: str) -> None:
        """Rename a file or a whole directory, as rename(2) does."""
        self.remove(target)
        for path in [each for each in self.nodes if each == source or each.startswith(source + "/")]:
            self.nodes[target + path[len(source) :]] = self.nodes.pop(path)

    def remove(self, path: str) -> None:
        for each in [each for each in self.nodes if each == path or each.startswith(path + "/")]:
            del self.nodes[each]

    @property
    def answers(self) -> bool:
        """Return whether etcdup can connect to it."""
        return self.reachable and self.powered

    def end_etcd(self, status: int, *last_lines: str) -> None:
        """End etcd with this exit status and these last log lines. The unit fails if the status is not 0."""
        self.process = None
        self.log.extend(last_lines)
        self.failed_at = self.network.now() if status else None

    def crash(self) -> None:
        """Cut the power: processes, /run and all connections are lost."""
        self.powered, self.process, self.failed_at, self.restarts = False, None, None, 0
        self.boots += 1
        self.temporary_etcd, self.queued = None, False
        self.remove("/run")
        self.locks.clear()

    def wipe(self, folder: str = "/var/lib/etcd") -> None:
        """Remove the content of a directory. An etcd that uses it exits, and its restarts fail (rule 89)."""
        if self.process is not None:
            self.end_etcd(2)
        for name in self.children(folder):
            self.remove(f"{self.real(folder)}/{name}")
