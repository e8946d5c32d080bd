"""How long `check`, `status` and `plan` take for a healthy cluster of three hosts."""

from dataclasses import replace

from tests.bench.contenders import Etcdup
from tests.bench.course import inspect, run_alone_timed, run_timed, start_line
from tests.bench.provisions import etcdup_program
from tests.bench.stopwatch import Timing
from tests.lab import Lab

# Each takes about a second, and the noise of a busy machine is as large. So the median needs more runs.
OBSERVATIONS = 9


def measure_checks(lab: Lab, version: str, runs: int) -> tuple[list[Timing], dict[str, list[Timing]]]:
    """Return the timings of `runs` checks, and those of `status` and `plan` with the CPU time of etcdup alone.

    Each must exit with 0, so a check has at most advice.
    """
    builder = Etcdup(version)
    with start_line(lab, builder) as job:
        run_timed(lab, job)
        inspect(lab, builder, version)
        jobs = {verb: replace(job, argv=(etcdup_program(), verb)) for verb in ("check", "status", "plan")}
        check = jobs.pop("check")
        checks = [run_timed(lab, check) for _ in range(runs)]
        observations = {
            f"etcdup {verb}": [run_alone_timed(lab, observation) for _ in range(OBSERVATIONS)]
            for verb, observation in jobs.items()
        }
        return checks, observations
