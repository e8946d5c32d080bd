"""The one door to a machine.

`ssh.py`, `local.py` and the in-memory `fake.py` implement Host, and one contract suite
(tests/remote/host_contract.py) holds all three to the same behaviour.
"""

import shlex
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from etcdup.errors import CommandFailed

COMMAND_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Result:
    """How a command ended. Any exit status is an answer, not an exception."""

    host: str
    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str
    duration_s: float = field(default=0.0, compare=False)

    def check(self, *, hint: str = "") -> "Result":
        """This result, if the command succeeded; raises CommandFailed otherwise."""
        if self.status != 0:
            raise CommandFailed(
                self.host, shlex.join(self.argv), self.status, self.stdout, self.stderr, hint=hint
            )
        return self


@dataclass(frozen=True)
class Blob:
    """Bytes to be streamed to a command's stdin from a file on the operator's machine."""

    path: Path


Stdin = bytes | Blob


@dataclass(frozen=True)
class HostFile:
    """A file to be put in place. Its content may be a key, so it is never shown."""

    path: str
    content: bytes = field(repr=False)
    mode: int
    owner: str


@dataclass(frozen=True)
class HostCommand:
    """A command among several that go in one round trip."""

    argv: tuple[str, ...]
    timeout_s: float = COMMAND_TIMEOUT_S


HostTask = HostCommand | tuple[HostFile, ...]


class Held(Protocol):
    """A command that is kept running through its connection; `lines` is its stdout as it comes."""

    def lines(self) -> AsyncIterator[str]: ...

    async def send(self, data: bytes) -> None: ...


class Host(Protocol):
    """One machine, as root (or, for a local host with a folder of its own, as this user).

    Every method raises a RemoteError (errors.py) when the transport fails, and only then; every wait has
    the deadline that its caller gives.
    """

    name: str

    async def run(
        self, argv: Sequence[str], *, stdin: Stdin = b"", timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Result:
        """Runs a command without a shell of the caller's making; any status is returned in the Result.

        stdout and stderr are decoded as UTF-8 with replacement. A command that is not there ends with
        status 127. At the timeout the command is ended and CommandFailed (status None) is raised.
        """
        ...

    async def read(self, path: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes | None:
        """A file's content, or None where there is no such file."""
        ...

    async def write(
        self, path: str, content: bytes, *, mode: int, owner: str, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> None:
        """Puts a file in place atomically: a reader, and a crash, see the old file or the new one whole.

        `owner` is `user:group`. The parent folder must exist. The content never appears in an argv, and at
        no moment is the file readable by more than `mode` allows.
        """
        ...

    async def write_all(self, files: Sequence[HostFile], *, timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        """Several files in one round trip, each as `write` does it, renamed in the order given.

        All are complete on the disk before the first is renamed: where one cannot be written, none is.
        """
        ...

    async def run_all(self, tasks: Sequence[HostTask], *, stdin: Stdin = b"") -> list[Result]:
        """Commands and files in one round trip, in order, each as `run` or `write_all` does it; `stdin` is the last
        command's.

        The first task that fails is the last that is done: its Result, then the last of the list, says why.
        Where the connection is lost, those done so far are unknown, and those not begun are not done.
        """
        ...

    def hold(self, argv: Sequence[str]) -> AbstractAsyncContextManager[Held]:
        """Starts a command that lives as long as the block: when the block or the connection ends, its
        stdin ends."""
        ...

    async def forward(self, address: str, port: int) -> tuple[str, int]:
        """An address and port on the operator's machine from which TCP reaches `address:port` as seen from
        the host. Lives until `close`; asking twice gives the same answer."""
        ...

    async def close(self) -> None:
        """Ends the connection. Safe to call twice."""
        ...
