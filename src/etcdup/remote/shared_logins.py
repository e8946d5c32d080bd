"""Logins that several fleets use one after the other. A verb with more than one fleet logs in to each host once."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.remote.fleet import connect
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets

if TYPE_CHECKING:
    from etcdup.remote.ssh.ssh import SshHost

# The address to which SSH connects, and how.
Destination = tuple[str, SshSpec]


class SharedLogins:
    """The connections to hosts. A host may have another name in each fleet.

    A fleet that closes its hosts does not close the connections: the end of this context does.
    """

    def __init__(self) -> None:
        self._open: dict[Destination, SshHost] = {}

    async def __aenter__(self) -> "SharedLogins":
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(host.close() for host in self._open.values()))

    async def connect(self, host: HostSpec, ssh_spec: SshSpec, secrets: SshSecrets) -> Host:
        """Return one host, as `fleet.connect` does. A connection that was lost is replaced by a new one."""
        if host.local:
            return await connect(host, ssh_spec, secrets)
        from etcdup.remote.ssh import ssh

        destination = (host.ssh_address or host.address, ssh_spec)
        there = self._open.get(destination)
        if there is None or there.is_lost:
            there = self._open[destination] = await ssh.connect(host, ssh_spec, secrets=secrets)
        return ssh.SharedSshHost(host.name, there)
