"""Machines in memory, what is between them, and the door to each: file systems, systemd and etcd as far as etcdup
can tell.

Shipped, so that whole verbs can be tried without a machine. The contract suite that real hosts pass holds
this one to the same behaviour; what it cannot run it answers with status 127, like a host without the command.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from etcdup.errors import CommandFailed, ConnectFailed, ConnectionLost
from etcdup.remote.host import COMMAND_TIMEOUT_S, Blob, HostCommand, HostFile, HostTask, Result, Stdin
from etcdup.testing.cluster import FakeClusters
from etcdup.testing.machine import FakeMachine, Node
from etcdup.testing.process import converge
from etcdup.testing.systemd import restart_failed

__all__ = ["Answer", "Command", "FakeHost", "FakeMachine", "FakeNetwork", "Killed", "Node"]

Answer = tuple[int, str, str]
Command = Callable[[FakeMachine, tuple[str, ...], bytes], Answer]


class Killed(BaseException):
    """etcdup itself was killed at this command; nothing after it happens."""


@dataclass
class FakeNetwork:
    """All machines and what is between them. Time is virtual: it passes only when somebody sleeps.

    `commands` is what was run so far that may change something. `cut_after` kills etcdup right after that many of
    them; `happenings` are what else happens at such a moment, before etcdup hears of the command's end.
    """

    machines: dict[str, FakeMachine] = field(default_factory=dict)
    time: float = 1_800_000_000.0
    cut_after: int | None = None
    killed: bool = False
    commands: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    happenings: dict[int, Callable[[], None]] = field(default_factory=dict)
    etcd: FakeClusters = field(default_factory=FakeClusters)

    def add(self, name: str, **facts: object) -> FakeMachine:
        self.machines[name] = FakeMachine(name, self, **facts)  # type: ignore[arg-type]
        return self.machines[name]

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds
        for machine in self.machines.values():
            restart_failed(machine)
        converge(self)
        await asyncio.sleep(0)

    def count(self, name: str, argv: tuple[str, ...]) -> None:
        """Called once after each command or call that changes something."""
        self.commands.append((name, argv))
        self.happenings.pop(len(self.commands), lambda: None)()
        if self.cut_after is not None and len(self.commands) >= self.cut_after:
            self.killed = True
            raise Killed(f"after {len(self.commands)} commands")

    def at(self, count: int, happen: Callable[[], None]) -> None:
        """Something that happens with the command of that number, like `lambda: network.crash("infra2")`."""
        self.happenings[count] = happen

    def crash(self, name: str) -> None:
        """A power cut: the host is gone, and all that ran on it, until it is rebooted."""
        self.machines[name].crash()
        converge(self)

    def reboot(self, name: str) -> None:
        """A host boots, after a power cut where it was up: /run is empty, and an enabled unit starts."""
        self.machines[name].reboot()

    def cut_off(self, name: str) -> None:
        """Neither the operator nor peers reach the host; what runs there goes on."""
        self.machines[name].reachable, self.machines[name].isolated = False, True
        converge(self)

    def reconnect(self, name: str) -> None:
        """The end of `cut_off`."""
        self.machines[name].reachable, self.machines[name].isolated = True, False
        converge(self)

    def wipe(self, name: str) -> None:
        """The host's data directory is empty, as with a new disk."""
        self.machines[name].wipe()
        converge(self)

    def restart_etcdup(self) -> None:
        """etcdup is started again; whatever it held on hosts is gone."""
        self.killed, self.cut_after, self.commands = False, None, []
        self.happenings.clear()
        for machine in self.machines.values():
            machine.locks.clear()


class FakeHost:
    """The Host of a FakeMachine."""

    def __init__(self, machine: FakeMachine) -> None:
        if not machine.answers:
            raise ConnectFailed(machine.name, f"{machine.name} cannot be reached", hint="is it up?")
        self.name = machine.name
        self.machine = machine

    async def run(
        self, argv: Sequence[str], *, stdin: Stdin = b"", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Result:
        from etcdup.testing.commands import execute, is_changing

        await self._check_alive()
        data = stdin.path.read_bytes() if isinstance(stdin, Blob) else stdin
        status, out, err = await execute(self.machine, tuple(argv), data, timeout_s)
        if is_changing(tuple(argv)):
            self.machine.network.count(self.name, tuple(argv))
            self._check_reachable()
        return Result(self.name, tuple(argv), status, out, err)

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        await self._check_alive()
        node = self.machine.file(path)
        return node.content if node else None

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        await self.write_all([HostFile(path, content, mode, owner)], timeout_s=timeout_s)

    async def write_all(self, files: Sequence[HostFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Counts each rename: a kill between two of them is one of the places to be cut at."""
        await self._check_alive()
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
            self._check_reachable()

    async def run_all(self, tasks: Sequence[HostTask], *, stdin: Stdin = b"") -> list[Result]:
        """One by one, so that a kill may come between any two."""
        results: list[Result] = []
        for number, task in enumerate(tasks, 1):
            if isinstance(task, HostCommand):
                own = stdin if number == len(tasks) else b""
                results.append(await self.run(task.argv, stdin=own, timeout_s=task.timeout_s))
            else:
                results.append(await self._write_files(task))
            if results[-1].status != 0:
                break
        return results

    async def _write_files(self, files: Sequence[HostFile]) -> Result:
        argv = ("write", *(file.path for file in files))
        try:
            await self.write_all(files)
        except CommandFailed as error:
            return Result(self.name, argv, error.status or 1, error.stdout, error.stderr)
        return Result(self.name, argv, 0, "", "")

    @asynccontextmanager
    async def hold(self, argv: Sequence[str]) -> AsyncIterator["FakeHeld"]:
        from etcdup.testing.commands import release_held_command, start_held_command

        await self._check_alive()
        lines, key = start_held_command(self.machine, tuple(argv))
        try:
            yield FakeHeld(lines)
        finally:
            release_held_command(self.machine, key)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return (address, port)

    async def close(self) -> None:
        """Nothing is held open."""

    async def _check_alive(self) -> None:
        await asyncio.sleep(0)
        if self.machine.network.killed:
            raise Killed("etcdup is dead already")
        self._check_reachable()

    def _check_reachable(self) -> None:
        if not self.machine.answers:
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
