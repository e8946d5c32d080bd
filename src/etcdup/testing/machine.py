"""One machine in memory: its files, systemd's part of it, and its power."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from etcdup.core.spec.version import Version, parse_version
from etcdup.testing.cluster import FakeCluster, FakeClusters, FakeMember

UNIT = "/etc/systemd/system/etcd.service"

# Exit status, stdout and stderr of a command.
Answer = tuple[int, str, str]
Command = Callable[["FakeMachine", tuple[str, ...], bytes], Answer]


class Killed(BaseException):
    """etcdup was killed at this command; nothing after it happens."""


class Network(Protocol):
    """What a machine and its processes use of FakeNetwork."""

    @property
    def machines(self) -> Mapping[str, "FakeMachine"]: ...

    @property
    def etcd(self) -> FakeClusters: ...

    @property
    def killed(self) -> bool: ...

    def now(self) -> float:
        """Return the virtual time, in seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Count a command or call that changes something. Raises Killed at the place where etcdup is killed."""
        ...


@dataclass
class Node:
    """A file, a link (its target in `link`) or a folder (`content` is None and so is `link`)."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755
    owner: str = "root:root"


@dataclass
class FakeProcess:
    """A running etcd: what it was started with and which member it is.

    `ready` once it has published itself through a quorum: only then does it answer clients (rule 1).
    `lost_log`: its data was lost since it acknowledged something; it panics as soon as the leader tells (rule 32).
    """

    exe: str
    environment: dict[str, str]
    started_at: float
    cluster: FakeCluster
    member_id: int
    lost_log: bool = False
    ready: bool = False

    @property
    def version(self) -> Version:
        """The version is the name of the binary's folder."""
        return parse_version(self.exe.split("/")[-2])

    @property
    def member(self) -> FakeMember | None:
        """Its entry in the member list; None once it was removed."""
        return self.cluster.members.get(self.member_id)

    @property
    def is_where_listed(self) -> bool:
        """Whether others find it at a URL that the member list has (rule 36)."""
        own = self.environment.get("ETCD_INITIAL_ADVERTISE_PEER_URLS", "").split(",")
        return self.member is not None and bool(set(own) & set(self.member.peer_urls))


@dataclass
class FakeMachine:
    """One machine. Its commands are in fake_commands.py; the file system is a dict of absolute paths.

    `reachable`: the operator has a way to it; `isolated`: its peers have none. `failed_at` is when etcd ended
    with an error; systemd starts it again, and `restarts` counts that. `v2store`: its data holds what 3.6 no
    longer reads (rule 44). `throwaway` is an etcd on a copy of its data; `log_end` the term and index of the last entry
    in its member's log, where that is not what the cluster has.
    """

    name: str
    network: Network
    reachable: bool = True
    isolated: bool = False
    powered: bool = True
    arch: str = "x86_64"
    distribution: str = "debian"
    clock_ahead_s: float = 0.0
    free_bytes: int = 20 * 1024**3
    systemd: bool = True
    ports_taken: dict[int, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=lambda: {"/": Node()})
    mounts: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    enabled: bool = False
    masked: bool = False
    loaded_unit: bytes | None = None
    process: FakeProcess | None = None
    temporary_etcd: FakeProcess | None = None
    log_end: tuple[int, int] | None = None
    failed_at: float | None = None
    restarts: int = 0
    v2store: bool = False
    locks: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def real(self, path: str) -> str:
        """The path with its last links followed, as far as they lead to something."""
        node = self.nodes.get(path)
        if node is not None and node.link is not None:
            return self.real(str(PurePosixPath(path).parent / node.link))
        parent = str(PurePosixPath(path).parent)
        if path not in self.nodes and parent != path:
            followed = self.real(parent)
            if followed != parent:
                return f"{followed.rstrip('/')}/{PurePosixPath(path).name}"
        return path

    def file(self, path: str) -> Node | None:
        node = self.nodes.get(self.real(path))
        return node if node is not None and node.content is not None else None

    def is_dir(self, path: str) -> bool:
        node = self.nodes.get(self.real(path))
        return node is not None and node.content is None

    def children(self, path: str) -> list[str]:
        """Names directly below a folder, sorted."""
        start = self.real(path).rstrip("/") + "/"
        below = (each[len(start) :] for each in self.nodes if each.startswith(start) and each != "/")
        return sorted({name.split("/")[0] for name in below})

    def make_dir(self, path: str) -> None:
        for parent in [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]:
            self.nodes.setdefault(str(parent), Node())

    def put(self, path: str, content: bytes, mode: int = 0o644, owner: str = "root:root") -> None:
        """A file, with the folders that it needs: for tests that prepare a machine."""
        self.make_dir(str(PurePosixPath(path).parent))
        self.nodes[path] = Node(content, mode=mode, owner=owner)

    def move(self, source: str, target: str) -> None:
        """rename(2) of a file or a whole folder."""
        self.remove(target)
        for path in [each for each in self.nodes if each == source or each.startswith(source + "/")]:
            self.nodes[target + path[len(source) :]] = self.nodes.pop(path)

    def remove(self, path: str) -> None:
        for each in [each for each in self.nodes if each == path or each.startswith(path + "/")]:
            del self.nodes[each]

    @property
    def answers(self) -> bool:
        """Whether the operator reaches it."""
        return self.reachable and self.powered

    def end_etcd(self, status: int, *words: str) -> None:
        """etcd ended by itself; with any status but 0 the unit has failed."""
        self.process = None
        self.log.extend(words)
        self.failed_at = self.network.now() if status else None

    def crash(self) -> None:
        """A power cut: processes, /run and every connection are gone until `reboot`."""
        self.powered, self.process, self.failed_at, self.restarts = False, None, None, 0
        self.temporary_etcd = None
        self.remove("/run")
        self.locks.clear()

    def wipe(self, folder: str = "/var/lib/etcd") -> None:
        """What was in a folder is gone; an etcd that runs on it ends, and the unit's restarts fail (rule 89)."""
        if self.process is not None:
            self.end_etcd(2)
        for name in self.children(folder):
            self.remove(f"{self.real(folder)}/{name}")
