"""The common part of SSH and local hosts: commands, files and timeouts on top of one method that executes an argv."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from itertools import pairwise

from etcdup.errors import CommandFailed, NotLocked, RemoteError, SudoFailed
from etcdup.remote import scripts
from etcdup.remote.host import (
    COMMAND_TIMEOUT_S,
    OUTPUT_BYTES,
    Blob,
    Held,
    HostCommand,
    HostFile,
    HostLock,
    HostTask,
    Result,
    Stdin,
    command_text,
)
from etcdup.remote.lock_scripts import parse_not_locked
from etcdup.remote.sudo import AsLogin, Become, BySudoWithPassword, RawResult

CHUNK = 256 * 1024

# The host itself ends a command at its timeout. This much later etcdup stops waiting for the host.
GRACE_S = scripts.KILL_AFTER_S + 2


class PosixHost(ABC):
    """A Host that runs sh and coreutils over any transport."""

    def __init__(self, name: str, *, become: Become | None = None, at_once: int) -> None:
        """`at_once` limits how many commands run at the same time; further commands wait without a timeout."""
        self.name = name
        self._become = become or AsLogin()
        self._slots = asyncio.Semaphore(at_once)

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = OUTPUT_BYTES,
    ) -> Result:
        started = time.monotonic()
        ended = await self._run_raw(argv, stdin, timeout_s, most_bytes=most_bytes)
        return Result(
            host=self.name,
            argv=tuple(argv),
            status=ended.status,
            stdout=ended.stdout.decode(errors="replace"),
            stderr=ended.stderr.decode(errors="replace"),
            duration_s=time.monotonic() - started,
        )

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        ended = await self._run_raw(scripts.read_file(path), b"", timeout_s)
        if ended.status == 0:
            return ended.stdout
        if ended.error_text().endswith("No such file or directory"):
            return None
        raise self._failed(f"reading {path}", ended)

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        await self.write_all([HostFile(path, content, mode, owner)], timeout_s=timeout_s)

    async def write_all(self, files: Sequence[HostFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        ended = await self._run_raw(self._write_argv(files), _contents(files), timeout_s)
        if ended.status != 0:
            raise self._failed(f"writing {', '.join(file.path for file in files)}", ended)

    async def run_all(
        self, tasks: Sequence[HostTask], *, stdin: Stdin = b"", lock: HostLock | None = None
    ) -> list[Result]:
        argvs = [task.argv if isinstance(task, HostCommand) else self._write_argv(task) for task in tasks]
        bounds = [task.timeout_s if isinstance(task, HostCommand) else COMMAND_TIMEOUT_S for task in tasks]
        reads = [*(not isinstance(task, HostCommand) for task in tasks[:-1]), True]
        contents = _contents([file for task in tasks if not isinstance(task, HostCommand) for file in task])
        script = scripts.in_sequence([*zip(map(scripts.bounded, argvs, bounds), reads, strict=True)], lock)
        ended = await self._run_raw(script, stdin, sum(bounds), first=contents)
        holder = parse_not_locked(ended.status, ended.stderr.decode(errors="replace"))
        if lock is not None and holder is not None:
            raise NotLocked(self.name, holder)
        return [
            self._result(task, bound, *part)
            for task, bound, part in zip(tasks, bounds, _parts(ended), strict=False)
        ]

    @abstractmethod
    def hold(
        self, argv: Sequence[str], *, lock: HostLock | None = None
    ) -> AbstractAsyncContextManager[Held]: ...

    @abstractmethod
    async def forward(self, address: str, port: int) -> tuple[str, int]: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    async def _execute(
        self, argv: Sequence[str], stdin: AsyncIterator[bytes], most_bytes: int = OUTPUT_BYTES
    ) -> RawResult:
        """Run an argv unchanged. If cancelled, end the command as far as the transport can.

        Raises OutputTooLong if the command prints more than `most_bytes`. It is ended then.
        """

    def _owner(self, owner: str) -> str:
        """Return the owner for a written file; empty means the user that writes."""
        return owner

    def _write_argv(self, files: Sequence[HostFile]) -> tuple[str, ...]:
        return scripts.write_files(
            [(file.path, file.mode, self._owner(file.owner), len(file.content)) for file in files]
        )

    def _result(self, task: HostTask, timeout_s: float, ended: RawResult, took_s: float) -> Result:
        """Return the result of one of several commands. Raises a RemoteError at its timeout."""
        argv = task.argv if isinstance(task, HostCommand) else ("write", *(file.path for file in task))
        if ended.status in scripts.TIMED_OUT and took_s + scripts.TICK_S >= timeout_s:
            raise self._timed_out(argv, timeout_s, ended)
        stdout, stderr = ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")
        return Result(self.name, argv, ended.status, stdout, stderr, took_s)

    async def _run_raw(
        self,
        argv: Sequence[str],
        stdin: Stdin,
        timeout_s: float,
        *,
        first: bytes = b"",
        most_bytes: int = OUTPUT_BYTES,
    ) -> RawResult:
        """Run a command. `first` is sent to its stdin before `stdin`."""
        wrapped = self._become.wrap(scripts.bounded(argv, timeout_s))
        async with self._slots:
            started = time.monotonic()
            try:
                async with (
                    asyncio.timeout(timeout_s + GRACE_S),
                    aclosing(chunks(self._become.preface + first, stdin)) as stream,
                ):
                    ended = await self._execute(wrapped, stream, most_bytes)
            except TimeoutError:
                raise self._timed_out(argv, timeout_s, RawResult(-1, b"", b"")) from None
            if ended.status in scripts.TIMED_OUT and time.monotonic() - started >= timeout_s:
                raise self._timed_out(argv, timeout_s, ended)
        self._check_password_taken(ended)
        return ended.after(scripts.AS_ROOT)

    def _held(self, held: Held) -> Held:
        """Return a held command without what sudo prints before it."""
        return held if isinstance(self._become, AsLogin) else _HeldAsRoot(held)

    def _timed_out(self, argv: Sequence[str], timeout_s: float, ended: RawResult) -> CommandFailed:
        return CommandFailed(
            self.name,
            command_text(argv),
            None,
            ended.stdout.decode(errors="replace"),
            ended.stderr.decode(errors="replace"),
            hint=f"check the load of {self.name}, then try again: the command was ended after {timeout_s:g} s",
        )

    def _check_password_taken(self, ended: RawResult) -> None:
        guarded = isinstance(self._become, BySudoWithPassword)
        refused = ended.error_text().endswith(scripts.GUARD_WORD)
        if guarded and ended.status == scripts.GUARD_STATUS and refused:
            raise SudoFailed(
                self.name,
                f"sudo on {self.name} requires a password for some commands and not for others",
                hint=f"run `visudo` on {self.name}: require a password for all commands of this user, or for none",
            )

    def _failed(self, what: str, ended: RawResult) -> RemoteError:
        stdout, stderr = ended.stdout.decode(errors="replace"), ended.error_text()
        hint = next((hint for words, hint in _HINTS if words in stderr), "")
        return CommandFailed(self.name, what, ended.status, stdout, stderr, hint=hint)


class _HeldAsRoot:
    """A held command that runs by sudo."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._started = False

    async def lines(self) -> AsyncIterator[str]:
        async for line in self._held.lines():
            if self._started:
                yield line
            self._started = self._started or f"{line}\n".encode().endswith(scripts.AS_ROOT)

    async def send(self, data: bytes) -> None:
        await self._held.send(data)


_HINTS = (
    ("No space left on device", "free disk space on that file system; the old file is unchanged"),
    (
        "Read-only file system",
        "run `dmesg` on the host to find out why that file system is mounted read-only",
    ),
    ("Permission denied", "log in as root, or set `ssh.sudo: true`"),
    (
        "Operation not permitted",
        "if the login is root, run `lsattr` on that file and its directory: if it shows `i` or `a`, run `chattr -ia` "
        "on it. Otherwise log in as root, or set `ssh.sudo: true`",
    ),
    ("invalid user", "create that user or group on the host first"),
    ("invalid group", "create that user or group on the host first"),
    ("only a part of the content", "run the same command again; the old file is unchanged"),
)


def _contents(files: Sequence[HostFile]) -> bytes:
    return b"".join(file.content for file in files)


def _parts(several: RawResult) -> list[tuple[RawResult, float]]:
    """Return the result and the duration of each command that was begun. Only the last can have failed."""
    times, stdouts = scripts.split_output(several.stdout)
    _, stderrs = scripts.split_output(several.stderr)
    statuses = [*(0 for _ in stdouts[1:]), several.status]
    took_s = [after - before for before, after in pairwise(times)] or [0.0]
    ended = [RawResult(*each) for each in zip(statuses, stdouts, stderrs, strict=False)]
    return list(zip(ended, took_s, strict=False))


async def chunks(preface: bytes, stdin: Stdin) -> AsyncGenerator[bytes, None]:
    """Yield the stdin of a command in pieces, between which a writer can wait."""
    if preface:
        yield preface
    if isinstance(stdin, Blob):
        file = await asyncio.to_thread(stdin.path.open, "rb", buffering=0)
        done, total = 0, os.fstat(file.fileno()).st_size
        try:
            while piece := await asyncio.to_thread(file.read, CHUNK):
                yield piece
                done += len(piece)
                stdin.on_read(done, total)
        finally:
            file.close()
        return
    for start in range(0, len(stdin), CHUNK):
        yield stdin[start : start + CHUNK]
