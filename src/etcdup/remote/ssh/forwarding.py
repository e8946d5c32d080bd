"""Ports on this machine that lead through an SSH connection to an address that the host can reach."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from etcdup.errors import ConnectionLost, ForwardForbidden
from etcdup.remote.ssh.library import asyncssh

LOOPBACK = "127.0.0.1"
OPEN_TIMEOUT_S = 10.0


class Forwards:
    """The forwarded ports of one connection."""

    def __init__(self, host: str, connection: asyncssh.SSHClientConnection) -> None:
        self._host = host
        self._connection = connection
        self._open: dict[tuple[str, int], _Forward] = {}
        self._opening: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self, address: str, port: int) -> tuple[str, int]:
        """Return the local address and port. Each call with the same destination returns the same."""
        async with self._opening[address, port]:
            forward = self._open.get((address, port))
            if forward is None:
                forward = _Forward(self._connection, address, port)
                await self._check(forward)
                await forward.listen()
                self._open[address, port] = forward
            return LOOPBACK, forward.local_port

    async def _check(self, forward: "_Forward") -> None:
        """Check whether sshd allows the forwarding. Later the only sign would be a closed connection."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await forward.prepare()
        except TimeoutError:
            return
        except asyncssh.ChannelOpenError as error:
            if self._connection.is_closed():
                raise ConnectionLost(self._host, f"{self._host}: the SSH connection was lost") from error
            if error.code != asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED:
                return  # No program listens on the port yet; it may listen later.
            raise ForwardForbidden(
                self._host,
                f"sshd on {self._host} forbids forwarding to {forward.address} port {forward.port}",
                detail=error.reason,
                hint=f"set `AllowTcpForwarding yes` in sshd_config on {self._host}, and check PermitOpen there and "
                "`no-port-forwarding` or `restrict` in authorized_keys",
            ) from error

    async def close(self) -> None:
        for forward in self._open.values():
            await forward.close()
        self._open.clear()


class _Forward:
    """One listening port, and the connections through it."""

    def __init__(self, connection: asyncssh.SSHClientConnection, address: str, port: int) -> None:
        self.address = address
        self.port = port
        self.local_port = 0
        self._connection = connection
        self._server: asyncio.Server | None = None
        self._spare: _Far | None = None
        self._pairs: set[_Near] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Open the first connection before it is used, which proves that forwarding is allowed.

        The first client uses it: a connection that is opened and closed without use causes a warning in the log of
        etcd.
        """
        self._spare = await self._open_far()

    async def listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Near(self._on_accepted, self._pairs.discard), LOOPBACK, 0
        )
        self.local_port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._spare is not None:
            self._spare.abort()
        for task in list(self._tasks):
            task.cancel()
        for near in list(self._pairs):
            near.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()

    def _on_accepted(self, near: "_Near") -> None:
        self._pairs.add(near)
        spare, self._spare = self._spare, None
        if spare is not None and spare.is_open():
            near.pair(spare)
            return
        task = asyncio.create_task(self._connect(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, near: "_Near") -> None:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                far = await self._open_far()
        except (asyncssh.Error, OSError):
            near.abort()
        else:
            near.pair(far)

    async def _open_far(self) -> "_Far":
        far = _Far()
        await self._connection.create_connection(lambda: far, self.address, self.port, encoding=None)
        return far


class _Near(asyncio.Protocol):
    """The end on this machine. Data that arrives before the far end is open is kept, and reading is paused."""

    def __init__(self, accepted: Callable[["_Near"], None], gone: Callable[["_Near"], None]) -> None:
        self._accepted = accepted
        self._gone = gone
        self._far: _Far | None = None
        self._early = b""
        self._ended_early = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._accepted(self)

    def pair(self, far: "_Far") -> None:
        assert self._transport is not None
        if self._transport.is_closing():
            far.abort()
            return
        self._far = far
        far.pair(self._transport)
        far.write(self._early)
        self._early = b""
        if self._ended_early:
            far.write_eof()
        self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._far is not None:
            self._far.write(data)
            return
        # Pausing in connection_made has no effect in Python 3.11.2, which starts to read after it.
        assert self._transport is not None
        self._transport.pause_reading()
        self._early += data

    def eof_received(self) -> bool:
        if self._far is not None:
            self._far.write_eof()
        self._ended_early = True
        return True

    def pause_writing(self) -> None:
        if self._far is not None:
            self._far.pause_reading()

    def resume_writing(self) -> None:
        if self._far is not None:
            self._far.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._gone(self)
        if self._far is not None:
            self._far.abort()


class _Far(asyncssh.SSHTCPSession[bytes]):
    """The end on the host."""

    def __init__(self) -> None:
        self._near: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._ended = False
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._channel = chan

    def pair(self, near: asyncio.Transport) -> None:
        self._near = near
        for data in self._early:
            near.write(data)
        self._early.clear()

    def is_open(self) -> bool:
        return self._channel is not None and not self._channel.is_closing() and not self._ended

    def abort(self) -> None:
        if self._channel is not None:
            self._channel.abort()

    def write(self, data: bytes) -> None:
        assert self._channel is not None
        with suppress(OSError):  # The far end is closed; its connection_lost follows.
            self._channel.write(data)

    def write_eof(self) -> None:
        assert self._channel is not None
        with suppress(OSError):
            self._channel.write_eof()

    def pause_reading(self) -> None:
        assert self._channel is not None
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        assert self._channel is not None
        self._channel.resume_reading()

    def data_received(self, data: bytes, _datatype: asyncssh.DataType) -> None:
        if self._near is None:
            self._early.append(data)
        else:
            self._near.write(data)

    def eof_received(self) -> bool:
        self._ended = True
        if self._near is not None and self._near.can_write_eof() and not self._near.is_closing():
            # An exception from this callback would close the whole SSH connection, not only this pair.
            with suppress(OSError):
                self._near.write_eof()
        return True

    def pause_writing(self) -> None:
        if self._near is not None:
            self._near.pause_reading()

    def resume_writing(self) -> None:
        if self._near is not None and not self._near.is_closing():
            self._near.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._ended = True
        if self._near is not None:
            self._near.close()
