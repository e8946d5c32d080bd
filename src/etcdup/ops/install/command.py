"""Run a program on the operator's machine. Cancelling it also ends all processes that it started."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etcdup.remote.environment import child_environment

_GRACE_S = 3.0
_TAIL_LINES = 15
# The UID and the GID that have no rights on each distribution (https://systemd.io/UIDS-GIDS/).
_NO_RIGHTS = 65534


@dataclass(frozen=True)
class ProcessResult:
    """Exit status and output of a program. The output is decoded as UTF-8 with replacement.

    The status of a program that a signal ended is the negative number of the signal, as in `subprocess`.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def end(self) -> str:
        """How the program ended, for a sentence with the program as its subject."""
        if self.status < 0:
            return f"was ended by signal {-self.status} ({signal.strsignal(-self.status)})"
        return f"exited with status {self.status}"

    def tail(self) -> str:
        """Return the last lines of stderr, or of stdout if stderr is empty. They are the detail of an error."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-_TAIL_LINES:])


async def run_without_rights(program: Path, *arguments: str) -> ProcessResult:
    """Run the program, as a user without rights if etcdup runs as root. Raises OSError if it cannot be started.

    The directories above the program may be closed to this user, so it is opened here and run by its descriptor.
    """
    if os.geteuid() != 0:
        return await run([str(program), *arguments])
    descriptor = os.open(program, os.O_RDONLY)
    try:
        argv = [f"/proc/self/fd/{descriptor}", *arguments]
        return await run(argv, cwd=Path("/"), without_rights=True, pass_fds=(descriptor,))
    finally:
        os.close(descriptor)


async def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    without_rights: bool = False,
    pass_fds: Sequence[int] = (),
) -> ProcessResult:
    """Run the program and return its result. Raises OSError if the program cannot be started.

    Without `env`, the program gets only the variables that a program needs to run.
    """
    identity: dict[str, Any] = (
        {"user": _NO_RIGHTS, "group": _NO_RIGHTS, "extra_groups": []} if without_rights else {}
    )
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        # apt reads the path of its configuration in APT_CONFIG.
        env=child_environment("APT_") if env is None else env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        pass_fds=pass_fds,
        **identity,
    )
    try:
        stdout, stderr = await process.communicate(stdin)
    except asyncio.CancelledError:
        await _end_group(process)
        raise
    return ProcessResult(
        process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")
    )


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """End the process group: the child processes of `go` and `apt` would otherwise continue."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(TimeoutError):
            # `communicate` also closes the pipes, and `wait` does not.
            await asyncio.wait_for(process.communicate(), _GRACE_S)
            return
