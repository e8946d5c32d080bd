"""The tables: timings, and measured values with their limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import median

from tests.bench.stopwatch import Timing


@dataclass(frozen=True)
class Work:
    """One kind of work, and the timings of all contenders."""

    title: str
    timings: dict[str, list[Timing]]

    def median_s(self, who: str) -> float:
        return median(timing.seconds for timing in self.timings[who])


@dataclass(frozen=True)
class Verdict:
    """A measured value and its limit, in the same unit. The unit `x` is a ratio of medians."""

    what: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def ratio(work: Work, who: str, against: str, limit: float) -> Verdict:
    return Verdict(
        f"{work.title}: {who} / {against}", work.median_s(who) / work.median_s(against), limit, "x"
    )


def show_timings(works: Sequence[Work]) -> str:
    """Return a table of timings. `cpu` is the median of operator and hosts together. `peak` is the operator's memory.

    A part of a run has no `cpu`.
    """
    heading = ("work", "who", "min", "median", "max", "n", "cpu", "peak")
    rows = [_row(work.title, who, timings) for work in works for who, timings in work.timings.items()]
    return columns([heading, *rows])


def _row(title: str, who: str, timings: Sequence[Timing]) -> tuple[str, ...]:
    seconds = [timing.seconds for timing in timings]
    spread = (f"{value:.3f} s" for value in (min(seconds), median(seconds), max(seconds)))
    cpu_s = median(timing.cpu_s for timing in timings)
    return (
        title,
        who,
        *spread,
        str(len(timings)),
        "" if isnan(cpu_s) else f"{cpu_s:.2f} s",
        f"{max(timing.peak_mib for timing in timings):.0f} MiB",
    )


def show_verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [("target", "measured", "must be", "")]
    for verdict in verdicts:
        met = "met" if verdict.met else "NOT MET"
        rows.append(
            (
                verdict.what,
                _number(verdict.value, verdict.unit),
                f"<= {_number(verdict.limit, verdict.unit)}",
                met,
            )
        )
    return columns(rows)


def _number(value: float, unit: str) -> str:
    return f"{value:.0f} ms" if unit == "ms" else f"{value:.3g} {unit}"


def columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
