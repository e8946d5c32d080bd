"""Effects of a rolling restart on concurrent writers: gaps, failed requests, lost writes. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Attempt(NamedTuple):
    """One write. Times are seconds of CLOCK_MONOTONIC. `error` is empty if the write was acknowledged."""

    began_s: float
    ended_s: float
    error: str


class Downtime(NamedTuple):
    """The time from the stop of a member until it was ready again, by the clock of Attempt."""

    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Written:
    """All attempts of one writer, and its acknowledged keys that did not exist at the end."""

    attempts: tuple[Attempt, ...]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interruption:
    """Gaps are the longest times without an acknowledgement, in seconds.

    `gap_s`: for all writers together. `up_gap_s`: for one writer whose member was up all the time. `down_gap_s`: for
    one writer while its member was restarted, which no order of restarts can avoid. `failed_up` are the errors of
    requests to members that were up.
    """

    gap_s: float
    up_gap_s: float
    down_gap_s: float
    failed: int
    failed_up: tuple[str, ...]
    lost: tuple[str, ...]
    acknowledged: int


class _Gap(NamedTuple):
    began_s: float
    ended_s: float

    @property
    def length_s(self) -> float:
        return self.ended_s - self.began_s


def measure_interruption(writers: Mapping[str, Written], downtimes: Mapping[str, Downtime]) -> Interruption:
    """Return the effects. Writers and downtimes are by member. Each writer has at least one acknowledged write."""
    of_all = [attempt for written in writers.values() for attempt in written.attempts]
    own: list[_Gap] = []
    up: list[_Gap] = []
    failed_up: list[str] = []
    for name, written in writers.items():
        gaps = _gaps(written.attempts)
        restarted = [gap for gap in gaps if _overlap(gap, downtimes[name])]
        own += restarted
        up += [gap for gap in gaps if gap not in restarted]
        failed_up += _failed_while_up(written.attempts, restarted)
    return Interruption(
        gap_s=_longest(_gaps(of_all)),
        up_gap_s=_longest(up),
        down_gap_s=_longest(own),
        failed=sum(bool(attempt.error) for attempt in of_all),
        failed_up=tuple(failed_up),
        lost=tuple(key for written in writers.values() for key in written.lost),
        acknowledged=sum(not attempt.error for attempt in of_all),
    )


def _gaps(attempts: Sequence[Attempt]) -> list[_Gap]:
    """Return the gaps between acknowledgements, and from the last acknowledgement to the last attempt."""
    times = sorted(attempt.ended_s for attempt in attempts if not attempt.error)
    last_attempt_s = max(attempt.began_s for attempt in attempts)
    return [_Gap(*pair) for pair in pairwise([*times, max(times[-1], last_attempt_s)])]


def _failed_while_up(attempts: Sequence[Attempt], restarted: Sequence[_Gap]) -> list[str]:
    """Return errors of requests that were not under way while the writer's member was restarted."""
    return [
        attempt.error
        for attempt in attempts
        if attempt.error and not any(_overlap(attempt, gap) for gap in restarted)
    ]


def _overlap(one: _Gap | Attempt, other: _Gap | Downtime) -> bool:
    return one.began_s <= other.ended_s and other.began_s <= one.ended_s


def _longest(gaps: Sequence[_Gap]) -> float:
    return max((gap.length_s for gap in gaps), default=0.0)
