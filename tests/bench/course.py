"""The course that every contender runs: fresh machines, and a look at what it left there. Not timed."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from tests.bench.contenders import Contender
from tests.bench.errors import CannotRun
from tests.bench.stopwatch import Job, Start, Timing, timed
from tests.lab import Lab, LabError, Machine
from tests.lab.cgroup import Cgroup

LOOK = Path(__file__).with_name("look.sh")


@contextmanager
def start_line(lab: Lab, contender: Contender) -> Iterator[Job]:
    """Fresh machines at rest, with what the contender needs on them, and its job."""
    lab.reset()
    lab.each(_settle)
    with TemporaryDirectory(prefix="etcdup-bench-") as folder:
        job = contender.prepare(lab, Path(folder))
        os.sync()  # else one contender pays for writing out what another left in the page cache
        yield job


def _settle(machine: Machine) -> None:
    """sshd answers while the machine still boots; what is left of that must not cost a run time."""
    machine.run("systemctl is-system-running --wait", check=False)


def run_timed(lab: Lab, job: Job) -> Timing:
    """At the operator's place, beside the machines."""
    return timed(job, _starter(lab), lambda: _cpu_used(lab))


def _cpu_used(lab: Lab) -> float:
    """Seconds, by all machines and the operator since the lab began."""
    statistics = (Cgroup(lab.workspace.lab_id).folders[0] / "cpu.stat").read_text()
    return int(statistics.split()[1]) / 1e6  # the first line is `usage_usec N`


def _starter(lab: Lab) -> Start:
    def start(
        argv: Sequence[str | Path], env: dict[str, str], folder: Path, out: IO[str]
    ) -> "subprocess.Popen[str]":
        return lab.popen(argv, env=env, cwd=folder, stdout=out, stderr=out)

    return start


def inspect(lab: Lab, contender: Contender, version: str) -> None:
    """All contenders did the same work, or there is no comparison."""
    for machine in lab:
        try:
            machine.run(f"sh -s {version}", stdin=LOOK.read_text())
        except LabError as error:
            raise CannotRun(
                f"what {contender.name} left on {machine.name} is not the cluster asked for\n{error}"
            ) from None
