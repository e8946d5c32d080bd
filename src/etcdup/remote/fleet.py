"""All hosts of a cluster at the same time. A host that cannot be reached does not end the work on other hosts."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from etcdup.core.spec.model import HostSpec, Spec, SshSpec
from etcdup.errors import EtcdupError, RemoteError, SudoFailed, UnreachableError
from etcdup.remote import local
from etcdup.remote.host import Host
from etcdup.remote.secrets import SshSecrets

T = TypeVar("T")

# Logins at the same time. sshd on a shared jump host drops logins beyond ten (MaxStartups).
LOGINS_AT_ONCE = 8

Connect = Callable[[HostSpec, SshSpec, SshSecrets], Awaitable[Host]]


class Fleet:
    """The hosts that were reached, and the errors of the others. Each host of the Spec is in one of the two."""

    def __init__(self, reach: Callable[[HostSpec], Awaitable[Host]]) -> None:
        self.hosts: dict[str, Host] = {}
        self.unreachable: dict[str, UnreachableError | SudoFailed] = {}
        self._reach = reach

    async def connect_host(self, host: HostSpec) -> None:
        """Try once to connect to one more host."""
        if host.name in self.hosts or host.name in self.unreachable:
            return
        try:
            self.hosts[host.name] = await self._reach(host)
        except (UnreachableError, SudoFailed) as error:
            self.unreachable[host.name] = error

    async def each(
        self, names: Iterable[str], work: Callable[[Host], Coroutine[Any, Any, T]]
    ) -> dict[str, T | RemoteError]:
        """Do the work on these hosts at the same time; a RemoteError is the result of that host.

        Any other error ends the work on all of them.
        """

        async def one(name: str) -> T | RemoteError:
            if name in self.unreachable:
                return self.unreachable[name]
            try:
                return await work(self.hosts[name])
            except RemoteError as error:
                return error

        return await _gather({name: one(name) for name in names})

    async def close(self) -> None:
        await _gather({name: host.close() for name, host in self.hosts.items()})


async def connect(host: HostSpec, ssh_spec: SshSpec, secrets: SshSecrets) -> Host:
    """Return one host: this machine if `local` is set, a host over SSH otherwise."""
    if host.local:
        return await local.connect_local(host, ssh_spec, secrets=secrets)
    # asyncssh takes longer to import than all of etcdup, and a cluster on this machine does not need it.
    from etcdup.remote.ssh import ssh

    return await ssh.connect(host, ssh_spec, secrets=secrets)


@asynccontextmanager
async def open_fleet(
    spec: Spec, secrets: SshSecrets, *, connect: Connect = connect, logins: asyncio.Semaphore | None = None
) -> AsyncIterator[Fleet]:
    """Connect to all hosts at the same time, and close them at the end.

    `logins` limits the logins of several fleets that are opened together.
    """
    bound = logins or asyncio.Semaphore(LOGINS_AT_ONCE)

    async def reach(host: HostSpec) -> Host:
        async with bound:
            return await connect(host, spec.ssh, secrets)

    fleet = Fleet(reach)
    try:
        await _gather({host.name: fleet.connect_host(host) for host in spec.hosts})
        yield fleet
    finally:
        await fleet.close()


async def _gather(work: Mapping[str, Coroutine[Any, Any, T]]) -> dict[str, T]:
    """Wait for all. The first EtcdupError cancels the rest, and is raised by itself, not in a group."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(job) for name, job in work.items()}
    except BaseExceptionGroup as errors:
        own_errors = errors.subgroup(EtcdupError)
        if own_errors is not None:
            raise _first(own_errors) from None
        raise
    return {name: task.result() for name, task in tasks.items()}


def _first(group: BaseExceptionGroup[EtcdupError]) -> EtcdupError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
