"""The Host of a machine in memory: commands, files and held commands, and the places where etcdup can be killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePosixPath

from etcdup.errors import CommandFailed, ConnectFailed, ConnectionLost
from etcdup.remote.host import COMMAND_TIMEOUT_S, Blob, HostCommand, HostFile, HostTask, Result, Stdin
from etcdup.testing.commands import execute, is_changing, release_held_command, start_held_command
from etcdup.testing.machine import FakeMachine, Killed, Node


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
        """Write files, and count each rename: tests kill etcdup between two of them too."""
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
        """Do the tasks one by one, so that tests can kill etcdup between any two."""
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
        await self._check_alive()
        lines, key = start_held_command(self.machine, tuple(argv))
        try:
            yield FakeHeld(lines)
        finally:
            release_held_command(self.machine, key)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return (address, port)

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def _check_alive(self) -> None:
        await asyncio.sleep(0)
        if self.machine.network.killed:
            raise Killed("etcdup is already killed")
        self._check_reachable()

    def _check_reachable(self) -> None:
        if not self.machine.answers:
            raise ConnectionLost(self.name, f"the connection to {self.name} was lost", hint="is it up?")


class FakeHeld:
    """A held command that has already written all its output."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    async def lines(self) -> AsyncIterator[str]:
        while self._lines:
            yield self._lines.pop(0)

    async def send(self, data: bytes) -> None:
        """Do nothing: a held command ends with its block and needs no heartbeats."""
