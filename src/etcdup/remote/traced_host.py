"""A Host that reports each command to an observer: for `--verbose` and `--log-file`."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import RemoteError
from etcdup.remote.fleet import Connect
from etcdup.remote.host import (
    COMMAND_TIMEOUT_S,
    OUTPUT_BYTES,
    Held,
    Host,
    HostCommand,
    HostFile,
    HostLock,
    HostTask,
    Result,
    Stdin,
)
from etcdup.remote.secrets import SshSecrets


class CommandTrace(Protocol):
    """An observer of commands. It never gets stdin or the content of a file."""

    def record_command(
        self, host: str, argv: Sequence[str], status: int | None, duration_s: float, error: str = ""
    ) -> None:
        """A command has ended. `status` is None if it is not known; `error` then says why, if there is a reason."""
        ...


def traced(connect: Connect, trace: CommandTrace) -> Connect:
    """Return a `connect` whose hosts report to this trace."""

    async def connect_traced(host: HostSpec, ssh_spec: SshSpec, secrets: SshSecrets) -> Host:
        return TracedHost(await connect(host, ssh_spec, secrets), trace)

    return connect_traced


class TracedHost:
    """A Host around another one."""

    def __init__(self, host: Host, trace: CommandTrace) -> None:
        self.name = host.name
        self._host = host
        self._trace = trace

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = OUTPUT_BYTES,
    ) -> Result:
        with self._record_failure(argv):
            result = await self._host.run(argv, stdin=stdin, timeout_s=timeout_s, most_bytes=most_bytes)
        self._record(result)
        return result

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        began = time.monotonic()
        with self._record_failure(("read", path)):
            content = await self._host.read(path, timeout_s=timeout_s)
        self._record_success(("read", path), began)
        return content

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        await self.write_all([HostFile(path, content, mode, owner)], timeout_s=timeout_s)

    async def write_all(self, files: Sequence[HostFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        argv, began = _argv(tuple(files)), time.monotonic()
        with self._record_failure(argv):
            await self._host.write_all(files, timeout_s=timeout_s)
        self._record_success(argv, began)

    async def run_all(
        self, tasks: Sequence[HostTask], *, stdin: Stdin = b"", lock: HostLock | None = None
    ) -> list[Result]:
        with self._record_failure(*map(_argv, tasks)):
            results = await self._host.run_all(tasks, stdin=stdin, lock=lock)
        for result in results:
            self._record(result)
        return results

    @asynccontextmanager
    async def hold(self, argv: Sequence[str], *, lock: HostLock | None = None) -> AsyncIterator[Held]:
        began = time.monotonic()
        with self._record_failure(argv):
            async with self._host.hold(argv, lock=lock) as held:
                yield held
        self._trace.record_command(self.name, argv, None, time.monotonic() - began)

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        return await self._host.forward(address, port)

    async def close(self) -> None:
        await self._host.close()

    def _record(self, result: Result) -> None:
        self._trace.record_command(self.name, result.argv, result.status, result.duration_s)

    def _record_success(self, argv: Sequence[str], began: float) -> None:
        self._trace.record_command(self.name, argv, 0, time.monotonic() - began)

    @contextmanager
    def _record_failure(self, *argvs: Sequence[str]) -> Iterator[None]:
        """Report each command if the connection fails or the time is over, because there is no status then."""
        began = time.monotonic()
        try:
            yield
        except RemoteError as error:
            for argv in argvs:
                self._trace.record_command(self.name, argv, None, time.monotonic() - began, error.message)
            raise


def _argv(task: HostTask) -> Sequence[str]:
    return task.argv if isinstance(task, HostCommand) else ("write", *(file.path for file in task))
