"""One timed run of one command."""

import os
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import IO

from tests.bench.errors import CannotRun

Start = Callable[[Sequence[str | Path], dict[str, str], Path, IO[str]], "subprocess.Popen[str]"]

TIMEOUT_S = 300.0
# Python programs are measured as they are installed: with their bytecode, whatever this shell is set to.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}
LAST_LINES = 30


@dataclass(frozen=True)
class Job:
    """A command, ready to be run in its own folder, where its log is left too."""

    argv: tuple[str | Path, ...]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """What the last run of it printed."""
        return self.folder / "log"


@dataclass(frozen=True)
class Timing:
    """`cpu_s` is the command's, its hosts' included where there are any. It hardly moves when others keep the
    computer busy, while `seconds` do. `peak_mib` is that of the largest process on the operator's side."""

    seconds: float
    cpu_s: float
    peak_mib: float


def timed(job: Job, start: Start, cpu_of_all: Callable[[], float] | None = None) -> Timing:
    """Runs it to its end. Raises CannotRun with its last words where that is not success.

    `cpu_of_all` counts the seconds of CPU that were used so far; without it, the command's own are taken.
    """
    used_before = cpu_of_all() if cpu_of_all else 0.0
    with job.log.open("w") as out:
        began = time.perf_counter()
        process = start(job.argv, os.environ | ENVIRONMENT | job.env, job.folder, out)
        usage = _wait(process, TIMEOUT_S)
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        said = "\n".join(job.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        raise CannotRun(f"{job.argv[0]}: status {process.returncode} after {seconds:.1f} s\n{said}")
    cpu_s = cpu_of_all() - used_before if cpu_of_all else usage.ru_utime + usage.ru_stime
    return Timing(seconds, cpu_s, usage.ru_maxrss / 1024)


def _wait(process: "subprocess.Popen[str]", timeout_s: float) -> resource.struct_rusage:
    """wait4 instead of Popen.wait: only it tells what the process took."""
    timer = Timer(timeout_s, process.kill)
    timer.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    finally:
        timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage
