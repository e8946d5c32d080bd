"""A program on the operator's own machine, run to its end; cancelling it ends everything that it started."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_GRACE_S = 3.0
_TAIL_LINES = 15


@dataclass(frozen=True)
class ProcessResult:
    """How it ended. Output is decoded as UTF-8 with replacement."""

    status: int
    stdout: str
    stderr: str

    def tail(self) -> str:
        """The last lines of what it said, for an error's detail."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-_TAIL_LINES:])


async def run(
    argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None, stdin: bytes = b""
) -> ProcessResult:
    """Raises OSError if it cannot be started at all."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
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
    """Ends the process group: `go` and `apt` start children that would outlive them."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(TimeoutError):
            # communicate, not wait: it also closes the pipes
            await asyncio.wait_for(process.communicate(), _GRACE_S)
            return
