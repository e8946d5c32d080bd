"""Rounds of all contenders on fresh machines, so that a slow computer slows all of them alike."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.contenders import Contender
from tests.bench.course import inspect, run_timed, start_line
from tests.bench.errors import CannotRun
from tests.bench.stopwatch import Job, Timing
from tests.lab import Lab

Report = Callable[[str], None]


@dataclass
class Measured:
    """Timings by contender: of the first run on fresh hosts, and of repeated runs with nothing to do."""

    first: dict[str, list[Timing]] = field(default_factory=dict)
    again: dict[str, list[Timing]] = field(default_factory=dict)


def measure_rounds(
    lab: Lab, contenders: Sequence[Contender], version: str, runs: int, again: dict[str, int], report: Report
) -> Measured:
    """Measure `runs` rounds. `again` has the number of repeated runs in each round, by contender."""
    measured = Measured()
    for number in range(1, runs + 1):
        for contender in contenders:
            with start_line(lab, contender) as job:
                first = run_timed(lab, job)
                inspect(lab, contender, version)
                repeats = [_again(lab, contender, job) for _ in range(again.get(contender.name, 0))]
            measured.first.setdefault(contender.name, []).append(first)
            measured.again.setdefault(contender.name, []).extend(repeats)
            report(_summary(number, contender, first, repeats))
    return measured


def _again(lab: Lab, contender: Contender, job: Job) -> Timing:
    timing = run_timed(lab, job)
    if not contender.did_nothing(output := job.log.read_text()):
        raise CannotRun(f"{contender.name} changed something in a repeated run:\n{output}")
    return timing


def _summary(number: int, contender: Contender, first: Timing, repeats: Sequence[Timing]) -> str:
    then = f", again {', '.join(f'{timing.seconds:.2f}' for timing in repeats)} s" if repeats else ""
    return f"round {number}: {contender.name} {first.seconds:.2f} s ({first.cpu_s:.1f} s of CPU){then}"
