"""Machines in memory: a file system, systemd's part of one, and etcd as far as etcdup can tell.

Shipped, so that whole verbs can be tried without a machine. The contract suite that real hosts pass holds
this one to the same behaviour; what it cannot run it answers with status 127, like a host without the command.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from etcdup.errors import CommandFailed, ConnectFailed, ConnectionLost
from etcdup.remote.fake_etcd import FakeCluster, FakeProcess
from etcdup.remote.host import COMMAND_TIMEOUT_S, Blob, NewFile, Result, Stdin

Answer = tuple[int, str, str]


class Killed(BaseException):
    """etcdup itself was killed at this command; nothing after it happens."""


@dataclass
class Node:
    """A file, a link (its target in `link`) or a folder (`content` is None and so is `link`)."""

    content: bytes | None = None
    link: str | None = None
    mode: int = 0o755
    owner: str = "root:root"


@dataclass
class FakeNetwork:
    """All machines and what is between them. Time is virtual: it passes only when somebody sleeps.

    `cut_after` kills etcdup right after that many commands (from now on); `commands` is what was run so far.
    """

    machines: dict[str, "FakeMachine"] = field(default_factory=dict)
    time: float = 1_800_000_000.0
    cut_after: int | None = None
    killed: bool = False
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    etcd: FakeCluster = field(default_factory=FakeCluster)

    def add(self, name: str, **facts: object) -> "FakeMachine":
        self.machines[name] = FakeMachine(name, self, **facts)  # type: ignore[arg-type]
        return self.machines[name]

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        await asyncio.sleep(0)

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Called once after each command or call that changes something."""
        self.commands.append((name, argv))
        if self.cut_after is not None and len(self.commands) >= self.cut_after:
            self.killed = True
            raise Killed(f"after {len(self.commands)} commands")

    def revive(self) -> None:
        """etcdup is started again; whatever it held on hosts is gone."""
        self.killed, self.cut_after, self.commands = False, None, []
        for machine in self.machines.values():
            machine.locks.clear()


@dataclass
class FakeMachine:
    """One machine. Commands are methods of fake_commands.py; the file system is a dict of absolute paths."""

    name: str
    network: FakeNetwork
    reachable: bool = True
    arch: str = "x86_64"
    distribution: str = "debian"
    clock_ahead_s: float = 0.0
    free_bytes: int = 20 * 1024**3
    systemd: int = 252
    ports_taken: dict[int, str] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=lambda: {"/": Node()})
    mounts: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    enabled: bool = False
    masked: bool = False
    loaded_unit: bytes | None = None
    process: FakeProcess | None = None
    failed: bool = False
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

    def reboot(self) -> None:
        """A power cut and a boot: processes and /run are gone, enabled units start."""
        self.process, self.failed = None, False
        self.remove("/run")
        self.locks.clear()
        if self.enabled:
            from etcdup.remote.fake_commands import start_unit

            start_unit(self)


class FakeHost:
    """The Host of a FakeMachine."""

    def __init__(self, machine: FakeMachine) -> None:
        if not machine.reachable:
            raise ConnectFailed(machine.name, f"{machine.name} cannot be reached", hint="is it up?")
        self.name = machine.name
        self.machine = machine

    async def run(
        self, argv: Sequence[str], *, stdin: Stdin = b"", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Result:
        from etcdup.remote.fake_commands import changes, execute

        await self._pass()
        data = stdin.path.read_bytes() if isinstance(stdin, Blob) else stdin
        status, out, err = await execute(self.machine, tuple(argv), data, timeout_s)
        if changes(tuple(argv)):
            self.machine.network.count(self.name, tuple(argv))
        return Result(self.name, tuple(argv), status, out, err)

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        await self._pass()
        node = self.machine.file(path)
        return node.content if node else None

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        await self.write_all([NewFile(path, content, mode, owner)], timeout_s=timeout_s)

    async def write_all(self, files: Sequence[NewFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Counts each rename: a kill between two of them is one of the places to be cut at."""
        await self._pass()
        for file in files:
            parent = str(PurePosixPath(file.path).parent)
            problem = ""
            if not self.machine.is_dir(parent):
                problem = f"no such folder: {parent}"
            elif len(file.content) > self.machine.free_bytes:
                problem = "head: write error: No space left on device"
            if problem:
                raise CommandFailed(self.name, f"writing {file.path}", 1, "", problem)
        for file in files:
            self.machine.nodes[file.path] = Node(file.content, mode=file.mode, owner=file.owner)
            self.machine.network.count(self.name, ("write", file.path))

    @asynccontextmanager
    async def hold(self, argv: Sequence[str]) -> AsyncIterator["FakeHeld"]:
        from etcdup.remote.fake_commands import held_lines, release

        await self._pass()
        lines, key = held_lines(self.machine, tuple(argv))
        try:
            yield FakeHeld(lines)
        finally:
            release(self.machine, key)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return (address, port)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _pass(self) -> None:
        await asyncio.sleep(0)
        if self.machine.network.killed:
            raise Killed("etcdup is dead already")
        if not self.machine.reachable:
            raise ConnectionLost(self.name, f"the connection to {self.name} was lost", hint="is it up?")


class FakeHeld:
    """A held command that has said all it will say."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    async def lines(self) -> AsyncIterator[str]:
        while self._lines:
            yield self._lines.pop(0)

    async def send(self, data: bytes) -> None:
        """Heartbeats are not needed here: a held command ends with its block."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


Command = Callable[[FakeMachine, tuple[str, ...], bytes], Answer]
