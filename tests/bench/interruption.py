"""What a rolling restart did to those who write meanwhile: gaps, failed requests, lost writes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Attempt(NamedTuple):
    """One write; times in seconds of CLOCK_MONOTONIC. `error` is empty where it was acknowledged."""

    began_s: float
    ended_s: float
    error: str


class Away(NamedTuple):
    """From when a member was told to stop until it was ready again; the same clock as an Attempt's."""

    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Written:
    """All that one writer did, and which acknowledged keys were not there at the end."""

    attempts: tuple[Attempt, ...]
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Interruption:
    """Gaps are the longest times without an acknowledgement, in seconds.

    `gap_s`: to any writer. `up_gap_s`: to one writer whose own member was up all that time. `away_gap_s`: to one
    writer while its own member was restarted, which no order of restarts can spare it. `failed_up` are the
    failures, in words, of requests to members that were up.
    """

    gap_s: float
    up_gap_s: float
    away_gap_s: float
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


def judge(writers: Mapping[str, Written], away: Mapping[str, Away]) -> Interruption:
    """Writers and restarts by the name of their member; every writer was acknowledged at least once."""
    of_all = [attempt for written in writers.values() for attempt in written.attempts]
    own: list[_Gap] = []
    up: list[_Gap] = []
    failed_up: list[str] = []
    for name, written in writers.items():
        gaps = _gaps(written.attempts)
        restarted = [gap for gap in gaps if _overlap(gap, away[name])]
        own += restarted
        up += [gap for gap in gaps if gap not in restarted]
        failed_up += _failed_elsewhere(written.attempts, restarted)
    return Interruption(
        gap_s=_longest(_gaps(of_all)),
        up_gap_s=_longest(up),
        away_gap_s=_longest(own),
        failed=sum(bool(attempt.error) for attempt in of_all),
        failed_up=tuple(failed_up),
        lost=tuple(key for written in writers.values() for key in written.lost),
        acknowledged=sum(not attempt.error for attempt in of_all),
    )


def _gaps(attempts: Sequence[Attempt]) -> list[_Gap]:
    """Between one acknowledgement and the next; after the last one, until nothing more was tried."""
    times = sorted(attempt.ended_s for attempt in attempts if not attempt.error)
    tried_s = max(attempt.began_s for attempt in attempts)
    return [_Gap(*pair) for pair in pairwise([*times, max(times[-1], tried_s)])]


def _failed_elsewhere(attempts: Sequence[Attempt], restarted: Sequence[_Gap]) -> list[str]:
    """Errors of requests that were not under way while the writer's own member was restarted."""
    return [
        attempt.error
        for attempt in attempts
        if attempt.error and not any(_overlap(attempt, gap) for gap in restarted)
    ]


def _overlap(one: _Gap | Attempt, other: _Gap | Away) -> bool:
    return one.began_s <= other.ended_s and other.began_s <= one.ended_s


def _longest(gaps: Sequence[_Gap]) -> float:
    return max((gap.length_s for gap in gaps), default=0.0)
