"""How long `etcdup adopt` takes for three hosts on which a shell script made the cluster."""

from dataclasses import replace
from pathlib import Path

from tests.bench.contenders import Shell
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.provisions import etcdup_program
from tests.bench.stopwatch import Job, Timing
from tests.lab import Lab


def measure_adoptions(lab: Lab, version: str, runs: int) -> list[Timing]:
    """Return the timings of `runs` adoptions of one cluster. `--release` undoes each of them."""
    builder = Shell(version)
    with start_line(lab, builder) as job:
        run_timed(lab, job)
        inspect(lab, builder, version)
        adopt, release = _jobs(lab, job)
        timings = []
        for _ in range(runs):
            timings.append(run_timed(lab, adopt))
            run_timed(lab, release)
        inspect(lab, builder, version)
        return timings


def _jobs(lab: Lab, job: Job) -> tuple[Job, Job]:
    """Return the jobs that adopt and release the cluster. Without a cluster.yaml, ssh_config says how to log in."""
    folder = job.folder / "adopted"
    _write_ssh_config(lab, folder)
    addresses = [machine.address for machine in lab]
    program, env = etcdup_program(), {"HOME": str(folder), "NO_COLOR": "1"}
    adopt = Job((program, "adopt", *addresses, "--user", "root", "--name", "prod", "--yes"), folder, env)
    return adopt, replace(adopt, argv=(program, "adopt", "--release", "--yes"))


def _write_ssh_config(lab: Lab, home: Path) -> None:
    (home / ".ssh").mkdir(parents=True)
    known = f"  IdentityFile {lab.identity_file}\n  UserKnownHostsFile {lab.known_hosts}\n"
    (home / ".ssh/config").write_text(f"Host *\n{known}")
