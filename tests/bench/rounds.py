"""Rounds of A, B, C on fresh machines each time, so that whatever slows the computer slows all contenders."""

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
    """Timings by contender: of the first run on fresh hosts, and of the same command once more after it."""

    first: dict[str, list[Timing]] = field(default_factory=dict)
    again: dict[str, list[Timing]] = field(default_factory=dict)


def measure_rounds(
    lab: Lab, contenders: Sequence[Contender], version: str, runs: int, again: dict[str, int], report: Report
) -> Measured:
    """`again` says who runs once more with nothing to do, and how often in each round."""
    measured = Measured()
    for number in range(1, runs + 1):
        for contender in contenders:
            with start_line(lab, contender) as job:
                first = run_timed(lab, job)
                inspect(lab, contender, version)
                repeats = [_again(lab, contender, job) for _ in range(again.get(contender.name, 0))]
            measured.first.setdefault(contender.name, []).append(first)
            measured.again.setdefault(contender.name, []).extend(repeats)
            report(_told(number, contender, first, repeats))
    return measured


def _again(lab: Lab, contender: Contender, job: Job) -> Timing:
    timing = run_timed(lab, job)
    if not contender.did_nothing(said := job.log.read_text()):
        raise CannotRun(f"{contender.name} had something to do when run again:\n{said}")
    return timing


def _told(number: int, contender: Contender, first: Timing, repeats: Sequence[Timing]) -> str:
    then = f", again {', '.join(f'{timing.seconds:.2f}' for timing in repeats)} s" if repeats else ""
    return f"round {number}: {contender.name} {first.seconds:.2f} s ({first.cpu_s:.1f} s of CPU){then}"
