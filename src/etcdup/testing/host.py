"""The Host of a machine in memory: commands, files and held commands, and the places where etcdup can be killed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import PurePosixPath

from etcdup.errors import CommandFailed, ConnectFailed, ConnectionLost, NotLocked, OutputTooLong
from etcdup.remote.host import (
    COMMAND_TIMEOUT_S,
    OUTPUT_BYTES,
    Blob,
    HostCommand,
    HostFile,
    HostLock,
    HostTask,
    Result,
    Stdin,
)
from etcdup.testing.commands import execute, is_changing, release_held_command, start_held_command
from etcdup.testing.machine import FakeMachine, Killed, Node
from etcdup.testing.member_user import require_safe_paths


class FakeHost:
    """The Host of a FakeMachine."""

    def __init__(self, machine: FakeMachine, name: str = "") -> None:
        """`name` is the name of the host, if cluster.yaml has another one than the machine."""
        self.name = name or machine.name
        if not machine.answers:
            raise ConnectFailed(self.name, f"{self.name} cannot be reached", hint="is it up?")
        self.machine = machine

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = OUTPUT_BYTES,
    ) -> Result:
        await self._check_alive()
        self._require_lock(None, tuple(argv))
        result = await self._run(argv, stdin, timeout_s)
        if len(result.stdout) + len(result.stderr) > most_bytes:
            raise OutputTooLong(self.name, most_bytes)
        return result

    async def _run(self, argv: Sequence[str], stdin: Stdin, timeout_s: float) -> Result:
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
        self._require_lock(None, ("write",))
        self._write_all(files)

    def _write_all(self, files: Sequence[HostFile]) -> None:
        for file in files:
            require_safe_paths(self.machine, ("write", file.path))
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

    async def run_all(
        self, tasks: Sequence[HostTask], *, stdin: Stdin = b"", lock: HostLock | None = None
    ) -> list[Result]:
        """Do the tasks one by one, so that tests can kill etcdup between any two.

        No other run acts during these tasks. On a real host, the next holder of the lock waits until they have ended.
        """
        await self._check_alive()
        for task in tasks:
            self._require_lock(lock, task.argv if isinstance(task, HostCommand) else ("write",))
        if lock is not None and lock.path and self.machine.locks.get(lock.path) != lock.line:
            raise NotLocked(self.name, self.machine.locks.get(lock.path, ""))
        if [task.argv for task in tasks if isinstance(task, HostCommand)] == [("true",)]:
            self.machine.network.confirm_lock()
        results: list[Result] = []
        for number, task in enumerate(tasks, 1):
            self._check_killed()
            if isinstance(task, HostCommand):
                own = stdin if number == len(tasks) else b""
                results.append(await self._run(task.argv, own, task.timeout_s))
            else:
                results.append(self._write_files(task))
            if results[-1].status != 0:
                break
        self.machine.network.end_round_trip()
        return results

    def _write_files(self, files: Sequence[HostFile]) -> Result:
        argv = ("write", *(file.path for file in files))
        try:
            self._write_all(files)
        except CommandFailed as error:
            return Result(self.name, argv, error.status or 1, error.stdout, error.stderr)
        return Result(self.name, argv, 0, "", "")

    @asynccontextmanager
    async def hold(self, argv: Sequence[str], *, lock: HostLock | None = None) -> AsyncIterator["FakeHeld"]:
        await self._check_alive()
        if "etcdup-lock" not in argv:
            self._require_lock(lock, tuple(argv))
        lines, *key = start_held_command(self.machine, tuple(argv))
        try:
            yield FakeHeld(lines, ends=lines != ["locked"])
        finally:
            release_held_command(self.machine, *key)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return (address, port)

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    async def _check_alive(self) -> None:
        await asyncio.sleep(0)
        self._check_killed()

    def _check_killed(self) -> None:
        if self.machine.network.killed:
            raise Killed("etcdup is already killed")
        self._check_reachable()

    def _require_lock(self, lock: HostLock | None, argv: tuple[str, ...]) -> None:
        """Fail a test in which etcdup changes the machine without a check of the lock in the same command."""
        if self.machine.network.changes_need_lock and lock is None and is_changing(argv):
            raise AssertionError(f"{self.name}: {argv} does not check the lock")

    def _check_reachable(self) -> None:
        if not self.machine.answers:
            raise ConnectionLost(self.name, f"the connection to {self.name} was lost", hint="is it up?")


class FakeHeld:
    """A held command that has already written all its output. Without `ends`, its end is never noticed."""

    def __init__(self, lines: list[str], *, ends: bool) -> None:
        self._lines = lines
        self._ends = ends

    async def lines(self) -> AsyncIterator[str]:
        while self._lines:
            yield self._lines.pop(0)
        if not self._ends:
            await asyncio.Event().wait()

    async def send(self, data: bytes) -> None:
        """Do nothing: a held command ends with its block and needs no heartbeats."""
