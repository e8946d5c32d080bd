"""How long `etcdup --help` and `--version` take, compared with a Python that does nothing."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tests.bench.provisions import etcdup_program
from tests.bench.stopwatch import Job, Timing, timed

# A run takes a fraction of a second, and the noise of a busy machine is as large. So the median needs many runs.
RUNS = 15
BARE = "python -c pass"


def measure_startup() -> dict[str, list[Timing]]:
    """Return timings of interleaved runs. The first run of each command is not counted: it loads files into memory."""
    etcdup = etcdup_program()
    commands: dict[str, tuple[str | Path, ...]] = {
        BARE: (sys.executable, "-c", "pass"),
        "etcdup --help": (etcdup, "--help"),
        "etcdup --version": (etcdup, "--version"),
    }
    timings: dict[str, list[Timing]] = {name: [] for name in commands}
    with TemporaryDirectory(prefix="etcdup-bench-") as folder:
        for count in range(RUNS + 1):
            for name, argv in commands.items():
                timing = timed(Job(argv, Path(folder)), _start)
                if count:
                    timings[name].append(timing)
    return timings


def _start(
    argv: Sequence[str | Path], env: dict[str, str], folder: Path, out: IO[str]
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True
    )
