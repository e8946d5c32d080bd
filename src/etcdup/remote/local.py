"""This machine as a Host (`local: true`): as root, with sudo, or as this user in a directory of its own."""

import asyncio
import os
import pwd
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import OutputTooLong, RemoteError
from etcdup.remote.environment import child_environment
from etcdup.remote.host import OUTPUT_BYTES, Held, HostLock
from etcdup.remote.lock_scripts import if_locked
from etcdup.remote.posix import PosixHost, chunks
from etcdup.remote.secrets import SshSecrets
from etcdup.remote.sudo import RawResult, become_root

AT_ONCE = 32
HELD_ENDS_WITHIN_S = 2.0
PROBE_TIMEOUT_S = 15.0
LINE_LIMIT = 1024 * 1024


async def connect_local(host: HostSpec, ssh: SshSpec, *, secrets: SshSecrets) -> "LocalHost":
    """Return this machine as a Host, with sudo if commands must run as root."""
    local = LocalHost(host.name, own_folder=host.root is not None)
    if host.root is None and ssh.sudo and os.geteuid() != 0:
        await local.use_sudo(secrets)
    return local


class LocalHost(PosixHost):
    """A Host whose commands are processes of this machine, each in a session of its own."""

    def __init__(self, name: str, *, own_folder: bool = False) -> None:
        """With `own_folder` this user owns all files that are written."""
        super().__init__(name, at_once=AT_ONCE)
        self._own_folder = own_folder

    async def use_sudo(self, secrets: SshSecrets) -> None:
        """Run each further command as root."""
        user = pwd.getpwuid(os.geteuid()).pw_name

        async def probe(argv: Sequence[str], stdin: bytes) -> RawResult:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await self._execute(argv, chunks(b"", stdin))

        self._become = await become_root(self.name, user, probe, secrets)

    def hold(self, argv: Sequence[str], *, lock: HostLock | None = None) -> AbstractAsyncContextManager[Held]:
        return self._hold(if_locked(argv, lock))

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return address, port

    async def close(self) -> None:
        return None

    def _owner(self, owner: str) -> str:
        return "" if self._own_folder else owner

    async def _execute(
        self, argv: Sequence[str], stdin: AsyncIterator[bytes], most_bytes: int = OUTPUT_BYTES
    ) -> RawResult:
        process = await self._start(argv, stderr=PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            _, out, err, status = await asyncio.gather(
                _feed(process, stdin),
                self._read(process.stdout, most_bytes),
                self._read(process.stderr, most_bytes),
                process.wait(),
            )
        except BaseException:
            await _end(process)
            raise
        return RawResult(status if status >= 0 else 128 - status, out, err)

    async def _read(self, stream: asyncio.StreamReader, most_bytes: int) -> bytes:
        pieces, size = [], 0
        while piece := await stream.read(LINE_LIMIT):
            pieces.append(piece)
            size += len(piece)
            if size > most_bytes:
                raise OutputTooLong(self.name, most_bytes)
        return b"".join(pieces)

    async def _start(self, argv: Sequence[str], *, stderr: int) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=PIPE,
                stdout=PIPE,
                stderr=stderr,
                start_new_session=True,
                env=child_environment(),
                limit=LINE_LIMIT,
            )
        except OSError as error:
            raise RemoteError(self.name, f"cannot start a process on this machine: {error}") from error

    @asynccontextmanager
    async def _hold(self, argv: Sequence[str]) -> AsyncIterator[Held]:
        process = await self._start(self._become.wrap(argv), stderr=DEVNULL)
        try:
            held = _LocalHeld(self.name, process)
            if self._become.preface:
                await held.send(self._become.preface)
            yield self._held(held)
        finally:
            await _end_held(process)


class _LocalHeld:
    def __init__(self, host: str, process: Process) -> None:
        self._host = host
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield line.decode(errors="replace").removesuffix("\n")

    async def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise RemoteError(self._host, "the held command has ended") from None


async def _feed(process: Process, stdin: AsyncIterator[bytes]) -> None:
    """Write until the end of stdin, or until the command stops reading, which is no error."""
    assert process.stdin is not None
    with suppress(BrokenPipeError, ConnectionResetError):
        async for chunk in stdin:
            process.stdin.write(chunk)
            await process.stdin.drain()
    process.stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()


async def _end_held(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(HELD_ENDS_WITHIN_S):
            await process.wait()
    except TimeoutError:
        await _end(process)
    finally:
        if process.returncode is None:
            await _end(process)
    with suppress(BrokenPipeError, ConnectionResetError):
        await process.stdin.wait_closed()


async def _end(process: Process) -> None:
    """Kill the process and its children. The processes of root below sudo end at their own timeout."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
