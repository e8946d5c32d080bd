"""A machine over SSH. It needs sshd, sh, coreutils, tar and systemd, but no Python, bash or SFTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.remote.host import OUTPUT_BYTES, Held, HostLock
from etcdup.remote.lock_scripts import if_locked
from etcdup.remote.posix import PosixHost, chunks
from etcdup.remote.secrets import SshSecrets
from etcdup.remote.ssh.command import connection_lost_error, execute, start_held
from etcdup.remote.ssh.dial import SshConnection, dial
from etcdup.remote.ssh.forwarding import Forwards
from etcdup.remote.ssh.login_shell import as_line, without_greeting
from etcdup.remote.sudo import RawResult, become_root

# sshd allows ten sessions in a connection (MaxSessions). Two are left for held commands.
AT_ONCE = 8
PROBE_TIMEOUT_S = 15.0


async def connect(host: HostSpec, ssh: SshSpec, *, secrets: SshSecrets) -> "SshHost":
    """Log in and, with `ssh.sudo`, become root. Raises an UnreachableError or SudoFailed.

    The key of the host must be in known_hosts. Without an answer this takes `ssh.connect_timeout` seconds.
    """
    dialled = await dial(host, ssh, secrets=secrets)
    reached = SshHost(host.name, dialled)
    try:
        if ssh.sudo and dialled.user != "root":
            await reached.use_sudo(secrets)
    except BaseException:
        await reached.close()
        raise
    return reached


class SshHost(PosixHost):
    """A Host that uses one connection for commands, held commands and forwarded ports."""

    def __init__(self, name: str, dialled: SshConnection) -> None:
        super().__init__(name, at_once=AT_ONCE)
        self._dialled = dialled
        self._forwards = Forwards(name, dialled.connection)

    async def use_sudo(self, secrets: SshSecrets) -> None:
        """Run each further command as root."""

        async def probe(argv: Sequence[str], stdin: bytes) -> RawResult:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    return await self._execute(argv, chunks(b"", stdin))
            except TimeoutError as error:
                raise connection_lost_error(self.name, error) from None

        self._become = await become_root(self.name, self._dialled.user, probe, secrets)

    def hold(self, argv: Sequence[str], *, lock: HostLock | None = None) -> AbstractAsyncContextManager[Held]:
        return self._hold(if_locked(argv, lock))

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return await self._forwards.open(address, port)

    @property
    def is_lost(self) -> bool:
        """Whether the connection is closed, by this machine or by the host."""
        return self._dialled.connection.is_closed()

    async def close(self) -> None:
        await self._forwards.close()
        await self._dialled.close()

    async def _execute(
        self, argv: Sequence[str], stdin: AsyncIterator[bytes], most_bytes: int = OUTPUT_BYTES
    ) -> RawResult:
        ended = await execute(self.name, self._dialled.connection, as_line(argv), stdin, most_bytes)
        return without_greeting(self.name, self._dialled.user, ended)

    @asynccontextmanager
    async def _hold(self, argv: Sequence[str]) -> AsyncIterator[Held]:
        line = as_line(self._become.wrap(argv))
        held = await start_held(self.name, self._dialled.user, self._dialled.connection, line)
        try:
            if self._become.preface:
                await held.send(self._become.preface)
            yield self._held(held)
        finally:
            await held.end()


class SharedSshHost(SshHost):
    """A Host on the connection of another one. It has a name of its own, and its close leaves the connection open."""

    def __init__(self, name: str, owner: SshHost) -> None:
        super().__init__(name, owner._dialled)
        self._become = owner._become
        self._slots = owner._slots

    async def close(self) -> None:
        await self._forwards.close()
