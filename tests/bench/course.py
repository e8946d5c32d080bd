"""The conditions of each measurement: fresh machines before it, and a check of the cluster after it. Not timed."""

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

VERIFY_CLUSTER = Path(__file__).with_name("verify-cluster.sh")


@contextmanager
def start_line(lab: Lab, contender: Contender) -> Iterator[Job]:
    """Reset the machines, wait until they are idle, and prepare a contender; yields its job."""
    lab.reset()
    lab.each(_settle)
    with TemporaryDirectory(prefix="etcdup-bench-") as folder:
        job = contender.prepare(lab, Path(folder))
        os.sync()  # otherwise this contender pays for dirty pages of the previous one
        yield job


def _settle(machine: Machine) -> None:
    """Wait for the end of the boot. sshd is ready before, and the rest of the boot would slow a run."""
    machine.run("systemctl is-system-running --wait", check=False)


def run_timed(lab: Lab, job: Job) -> Timing:
    """Run a job on the operator's side of the lab, and return its timing."""
    return timed(job, _starter(lab), lambda: _cpu_used(lab))


def run_alone_timed(lab: Lab, job: Job) -> Timing:
    """Run a job on the operator's side of the lab. Its CPU time does not include that of the machines."""
    return timed(job, _starter(lab))


def _cpu_used(lab: Lab) -> float:
    """Return the seconds of CPU that all machines and the operator have used since the lab started."""
    statistics = (Cgroup(lab.workspace.lab_id).folders[0] / "cpu.stat").read_text()
    return int(statistics.split()[1]) / 1e6  # the first line is `usage_usec N`


def _starter(lab: Lab) -> Start:
    def start(
        argv: Sequence[str | Path], env: dict[str, str], folder: Path, out: IO[str]
    ) -> "subprocess.Popen[str]":
        return lab.popen(argv, env=env, cwd=folder, stdout=out, stderr=out)

    return start


def inspect(lab: Lab, contender: Contender, version: str) -> None:
    """Check the cluster of a contender. Without the same result, there is no comparison."""
    for machine in lab:
        try:
            machine.run(f"sh -s {version}", stdin=VERIFY_CLUSTER.read_text())
        except LabError as error:
            raise CannotRun(f"{contender.name} made a wrong cluster on {machine.name}\n{error}") from None
