"""Commands over one SSH connection: commands that run to their end, and held commands."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from etcdup.errors import ConnectionLost, LoginUnusable, OutputTooLong, RemoteError
from etcdup.remote.ssh.library import asyncssh
from etcdup.remote.ssh.login_shell import STARTED, has_started, login_unusable
from etcdup.remote.sudo import RawResult

T = TypeVar("T")

# How much a host may send before it must wait; enough for 100 MB/s with a round trip of 80 ms.
WINDOW = 8 * 1024 * 1024
# How much is queued for a host before etcdup stops reading the file that it sends.
WRITE_BUFFER = 1024 * 1024

HELD_ENDS_WITHIN_S = 2.0
# A login that has not started the command by then waits for something that etcdup cannot send.
START_WITHIN_S = 12.0
OPEN_AGAIN_AFTER_S = (0.01, 0.05, 0.2, 0.5)


async def execute(
    host: str,
    connection: asyncssh.SSHClientConnection,
    line: str,
    stdin: AsyncIterator[bytes],
    most_bytes: int,
) -> RawResult:
    """Run a command line to its end. If cancelled, send it a signal and close its channel.

    If the login does not start the command in time, the status of the result is -1.
    """
    exchange = await _open(host, connection, line, most_bytes)
    try:
        ended = await exchange.feed(stdin) and await exchange.wait_for_end()
    finally:
        exchange.abandon()
    if exchange.is_too_long:
        raise OutputTooLong(host, most_bytes)
    if ended and exchange.status is None:
        raise connection_lost_error(host, exchange.error)
    status = -1 if exchange.status is None else exchange.status
    return RawResult(status, b"".join(exchange.stdout), b"".join(exchange.stderr))


def connection_lost_error(host: str, error: Exception | None) -> ConnectionLost:
    """Return the error for a lost connection. It is unknown what the command did."""
    return ConnectionLost(
        host,
        f"{host}: the SSH connection was lost",
        detail=str(error or ""),
        hint="run the same command again: it first observes what was done",
    )


async def _open(
    host: str, connection: asyncssh.SSHClientConnection, line: str, most_bytes: int
) -> "_CommandSession":
    async def start() -> _CommandSession:
        exchange = _CommandSession(most_bytes)
        await connection.create_session(
            lambda: exchange, line, encoding=None, env={}, send_env=[], request_pty=False, window=WINDOW
        )
        return exchange

    return await _start_with_retries(host, connection, start)


async def _start_with_retries(
    host: str, connection: asyncssh.SSHClientConnection, start: Callable[[], Awaitable[T]]
) -> T:
    """Start a command, and try again if sshd refuses the session for a moment.

    sshd counts a session until it has removed it, which is after etcdup has received its end. So at MaxSessions a new
    session may be refused.
    """
    pauses = iter(OPEN_AGAIN_AFTER_S)
    while True:
        try:
            return await start()
        except asyncssh.Error as error:
            pause_s = next(pauses, None)
            is_refused = isinstance(error, asyncssh.ChannelOpenError) and not connection.is_closed()
            if pause_s is None or not is_refused:
                raise channel_refused_error(host, connection, error) from error
            await asyncio.sleep(pause_s)


def channel_refused_error(
    host: str, connection: asyncssh.SSHClientConnection, error: asyncssh.Error
) -> RemoteError:
    """Return the error for a refused channel: the connection is lost, or sshd refuses the session."""
    if connection.is_closed() or not isinstance(error, asyncssh.ChannelOpenError):
        return connection_lost_error(host, error)
    return LoginUnusable(
        host,
        f"sshd on {host} does not run commands: {error.reason}",
        hint="check ForceCommand and MaxSessions (at least 10) in its sshd_config, the login shell of the user, and "
        "its limits (`nproc` in /etc/security/limits.conf)",
    )


class _CommandSession(asyncssh.SSHClientSession[bytes]):
    """The stdin, stdout, stderr and status of a command."""

    def __init__(self, most_bytes: int) -> None:
        self._left = most_bytes
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self.status: int | None = None
        self.error: Exception | None = None
        self.closed = asyncio.Event()
        self.is_too_long = False
        self._tail = b""
        self._started = asyncio.Event()  # also set if the connection is lost
        self._writable = asyncio.Event()
        self._writable.set()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    async def feed(self, stdin: AsyncIterator[bytes]) -> bool:
        """Write until the end of stdin, or until the command stops reading, which is no error.

        Return False if the login did not start the command in time. Nothing is written before the command has started:
        a `read` in a file of the login shell would get the first line of a file, or a password.
        """
        assert self._channel is not None
        with suppress(BrokenPipeError):
            async for chunk in stdin:
                if not await self._wait_for_start():
                    return False
                self._channel.write(chunk)
                await self._writable.wait()
            self._channel.write_eof()
        return True

    async def _wait_for_start(self) -> bool:
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._started.wait()
        except TimeoutError:
            return False
        return True

    async def wait_for_end(self) -> bool:
        """Wait until the command has ended. Return False if the login did not start it in time."""
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self.closed.wait()
        except TimeoutError:
            if not has_started(b"".join(self.stdout)):
                return False
            await self.closed.wait()
        return True

    def abandon(self) -> None:
        if self.closed.is_set():
            return
        assert self._channel is not None
        with suppress(OSError):
            self._channel.send_signal("TERM")
        self._channel.abort()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=WRITE_BUFFER)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._left -= len(data)
        if self._left < 0:
            self.is_too_long = True
            self.abandon()
            return
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self.stderr.append(data)
            return
        self.stdout.append(data)
        if not self._started.is_set():
            self._tail += data
            if has_started(self._tail):
                self._started.set()
            self._tail = self._tail[-len(STARTED) :]

    def eof_received(self) -> bool:
        return True  # Stdin stays open: the command may continue to read.

    def exit_status_received(self, status: int) -> None:
        self.status = status

    def exit_signal_received(self, signal_name: str, _core: bool, _msg: str, _lang: str) -> None:
        number = getattr(signal, f"SIG{signal_name}", signal.SIGKILL)
        self.status = 128 + int(number)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self.closed.set()
        self._started.set()
        self._writable.set()


class HeldOverSsh:
    """A held command: it runs as long as its connection."""

    def __init__(self, host: str, user: str, process: asyncssh.SSHClientProcess[bytes]) -> None:
        self._host = host
        self._user = user
        self._started = False
        self._process = process

    async def lines(self) -> AsyncIterator[str]:
        try:
            await self._skip_greeting()
            while line := await self._process.stdout.readline():
                yield line.decode(errors="replace").removesuffix("\n")
        except (asyncssh.Error, OSError) as error:
            raise connection_lost_error(self._host, error) from error
        if self._process.exit_status is None and self._process.channel.get_exit_signal() is None:
            await self._process.wait_closed()
            if self._process.exit_status is None:
                raise connection_lost_error(self._host, None)

    async def _skip_greeting(self) -> None:
        """Read until the marker that sh prints before the command. A second call reads nothing."""
        greeting: list[bytes] = []
        try:
            async with asyncio.timeout(START_WITHIN_S):
                await self._read_greeting(greeting)
        except TimeoutError:
            ended = RawResult(-1, b"".join(greeting), b"")
            raise login_unusable(self._host, self._user, ended) from None
        if self._started:
            return
        await self._process.wait_closed()
        if self._process.exit_status is not None:
            ended = RawResult(self._process.exit_status, b"".join(greeting), b"")
            raise login_unusable(self._host, self._user, ended)

    async def _read_greeting(self, greeting: list[bytes]) -> None:
        while not self._started and (line := await self._process.stdout.readline()):
            greeting.append(line)
            self._started = line.endswith(STARTED)

    async def send(self, data: bytes) -> None:
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (asyncssh.Error, OSError):
            raise RemoteError(self._host, "the held command has ended") from None

    async def end(self) -> None:
        """Close stdin, at which a held command exits. A command that does not exit gets a signal."""
        with suppress(asyncssh.Error, OSError):
            self._process.stdin.write_eof()
        try:
            async with asyncio.timeout(HELD_ENDS_WITHIN_S):
                await self._process.wait_closed()
        except TimeoutError:
            with suppress(asyncssh.Error, OSError):
                self._process.send_signal("TERM")
        finally:
            self._process.channel.abort()


async def start_held(
    host: str, user: str, connection: asyncssh.SSHClientConnection, line: str
) -> HeldOverSsh:
    """Start a held command."""

    async def start() -> HeldOverSsh:
        process = await connection.create_process(
            line, encoding=None, env={}, send_env=[], request_pty=False, stderr=asyncssh.DEVNULL
        )
        return HeldOverSsh(host, user, process)

    return await _start_with_retries(host, connection, start)
