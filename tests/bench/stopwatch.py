"""The time, CPU and memory of one command."""

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
# Python programs use their bytecode, as after an installation, even if this shell disables it.
ENVIRONMENT = {"PYTHONDONTWRITEBYTECODE": ""}
LAST_LINES = 30


@dataclass(frozen=True)
class Job:
    """A command with its folder and environment. Its log is in the folder."""

    argv: tuple[str | Path, ...]
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        """The output of the last run."""
        return self.folder / "log"


@dataclass(frozen=True)
class Timing:
    """`cpu_s` is the CPU time of the command and of its hosts, if any.

    Unlike `seconds`, it is stable on a busy computer. `peak_mib` is the memory of the operator's largest process.
    """

    seconds: float
    cpu_s: float
    peak_mib: float


def timed(job: Job, start: Start, cpu_of_all: Callable[[], float] | None = None) -> Timing:
    """Run a job and return its timing. If it fails, raise CannotRun with the end of its output.

    `cpu_of_all` returns the seconds of CPU that were used so far. Without it, only the command's CPU is measured.
    """
    used_before = cpu_of_all() if cpu_of_all else 0.0
    with job.log.open("w") as out:
        began = time.perf_counter()
        process = start(job.argv, os.environ | ENVIRONMENT | job.env, job.folder, out)
        usage = _wait(process, TIMEOUT_S)
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        output = "\n".join(job.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
        raise CannotRun(f"{job.argv[0]}: exit status {process.returncode} after {seconds:.1f} s\n{output}")
    cpu_s = cpu_of_all() - used_before if cpu_of_all else usage.ru_utime + usage.ru_stime
    return Timing(seconds, cpu_s, usage.ru_maxrss / 1024)


def _wait(process: "subprocess.Popen[str]", timeout_s: float) -> resource.struct_rusage:
    """Wait for a process and return its resource usage, which wait4 has and Popen.wait has not."""
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
