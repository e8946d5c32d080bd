"""The only interface to a machine.

`ssh/ssh.py`, `local.py` and the in-memory `testing/host.py` implement Host. One contract suite
(tests/remote/host_contract.py) tests that all three behave the same.
"""

import shlex
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from etcdup.errors import CommandFailed

COMMAND_TIMEOUT_S = 30.0
# The most that a command may print. A local host counts stdout and stderr separately. The tables of 50,000 sockets have
# less.
OUTPUT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Result:
    """The result of a command. An exit status other than 0 is a result too, not an exception."""

    host: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    duration_s: float = field(default=0.0, compare=False)

    def check(self, *, hint: str = "") -> "Result":
        """Return this result if the command succeeded. Raises CommandFailed otherwise."""
        if self.status != 0:
            raise CommandFailed(
                self.host, command_text(self.argv), self.status, self.stdout, self.stderr, hint=hint
            )
        return self


def command_text(argv: Sequence[str]) -> str:
    """Return the beginning of a command, for messages. A script is shown by its name and arguments only."""
    is_script = tuple(argv[:2]) == ("sh", "-c") and len(argv) > 3
    words = " ".join((f"script {shlex.join(argv[3:])}" if is_script else shlex.join(argv)).split())
    return words if len(words) <= 100 else words[:99] + "…"


@dataclass(frozen=True)
class Blob:
    """A file on the machine of the operator that is streamed to the stdin of a command.

    `on_read` gets the number of bytes that were read, and their total.
    """

    path: Path
    on_read: Callable[[int, int], None] = field(default=lambda _done, _total: None, compare=False)


Stdin = bytes | Blob


@dataclass(frozen=True)
class HostFile:
    """A file to write. Its content may be a key, so it is never shown."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    owner: str


@dataclass(frozen=True)
class HostCommand:
    """One of several commands that are run in one round trip."""

    argv: tuple[str, ...]
    timeout_s: float = COMMAND_TIMEOUT_S


HostTask = HostCommand | tuple[HostFile, ...]


@dataclass(frozen=True)
class HostLock:
    """The lock file of a host, and the line that it has while this run holds the lock. No two runs have the same."""

    path: str
    line: str


class Held(Protocol):
    """A command that runs as long as its connection; `lines` yields its stdout while it is written."""

    def lines(self) -> AsyncIterator[str]: ...

    async def send(self, data: bytes) -> None: ...


class Host(Protocol):
    """One machine, as root, or as this user for a local host with a directory of its own.

    Methods raise a RemoteError (errors.py) if the transport fails, and only then. Each wait has the timeout that the
    caller gives.
    """

    name: str

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: Stdin = b"",
        timeout_s: float = COMMAND_TIMEOUT_S,
        most_bytes: int = OUTPUT_BYTES,
    ) -> Result:
        """Run a command without a shell, and return its result with any exit status.

        stdout and stderr are decoded as UTF-8 with replacement. A command that does not exist has status 127. At the
        timeout the command is ended and CommandFailed (status None) is raised. If it prints more than `most_bytes`, it
        is ended and OutputTooLong is raised.
        """
        ...

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        """Return the content of a file, or None if it does not exist."""
        ...

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        """Write a file atomically: after a crash too, the file is the old one or the complete new one.

        `owner` is `user:group`. The parent directory must exist. The content is never in an argv, and the file is
        never readable for more users than `mode` allows.
        """
        ...

    async def write_all(self, files: Sequence[HostFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Write several files in one round trip, each as `write` does, and rename them in this order.

        All are complete on the disk before the first is renamed: if one cannot be written, none is.
        """
        ...

    async def run_all(
        self, tasks: Sequence[HostTask], *, stdin: Stdin = b"", lock: HostLock | None = None
    ) -> list[Result]:
        """Run commands and write files in one round trip, in order, as `run` and `write_all` do.

        `stdin` is for the last command. The first task that fails is the last that is done, and the last Result of
        the list. After a lost connection it is unknown which tasks were done; tasks not begun are not done.

        With `lock`, the host first checks that this run still holds the lock. If not, no task is done, and NotLocked
        is raised. No other run gets the lock before the last task has ended.
        """
        ...

    def hold(self, argv: Sequence[str], *, lock: HostLock | None = None) -> AbstractAsyncContextManager[Held]:
        """Start a command that runs as long as the block. Its stdin ends with the block or the connection.

        With `lock`, it starts only if this run still holds the lock. Otherwise it ends at once, without output.
        """
        ...

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        """Return an address and port on this machine that leads to `address:port` as the host reaches it.

        The forwarding lasts until `close`. A second call returns the same address and port.
        """
        ...

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""
        ...
