"""How long `etcdup check` takes for a healthy cluster of three hosts."""

from dataclasses import replace

from tests.bench.contenders import Etcdup
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.provisions import etcdup_program
from tests.bench.stopwatch import Timing
from tests.lab import Lab


def measure_checks(lab: Lab, version: str, runs: int) -> list[Timing]:
    """Return the timings of `runs` checks. Each must exit with 0, so it has at most advice."""
    builder = Etcdup(version)
    with start_line(lab, builder) as job:
        run_timed(lab, job)
        inspect(lab, builder, version)
        check = replace(job, argv=(etcdup_program(), "check"))
        return [run_timed(lab, check) for _ in range(runs)]
