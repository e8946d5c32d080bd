"""The rolling restart's part of the table: what those who wrote meanwhile saw, and what they may see."""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.interruption import Interruption
from tests.bench.verdict import Verdict, columns

GAP_LIMIT_S = 1.0


def show_interruptions(title: str, seen: Mapping[str, Sequence[Interruption]]) -> str:
    """Gaps as min / median / max over the rounds; counts over all rounds together.

    A writer asks again at once, as it writes: how many requests failed says how long members were away.
    """
    heading = (
        f"{title}: gaps in s", "of all writers", "of one, member up", "of one, restarted", "acknowledged",
        "failed", "member up", "lost",
    )  # fmt: skip
    return columns([heading, *(_row(who, each) for who, each in seen.items())])


def _row(who: str, rounds: Sequence[Interruption]) -> tuple[str, ...]:
    return (
        who,
        _spread([each.gap_s for each in rounds]),
        _spread([each.up_gap_s for each in rounds]),
        _spread([each.away_gap_s for each in rounds]),
        str(sum(each.acknowledged for each in rounds)),
        str(sum(each.failed for each in rounds)),
        str(sum(len(each.failed_up) for each in rounds)),
        str(sum(len(each.lost) for each in rounds)),
    )


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in (min(values), median(values), max(values)))


def roll_verdicts(title: str, who: str, rounds: Sequence[Interruption]) -> list[Verdict]:
    """In every round: these are promises, not averages."""
    gap_s = max(each.gap_s for each in rounds)
    up_gap_s = max(each.up_gap_s for each in rounds)
    failed = sum(len(each.failed_up) for each in rounds)
    lost = sum(len(each.lost) for each in rounds)
    return [
        Verdict(f"{title}: {who}, no write by anyone", gap_s, GAP_LIMIT_S, "s"),
        Verdict(f"{title}: {who}, no write through a member that is up", up_gap_s, GAP_LIMIT_S, "s"),
        Verdict(f"{title}: {who}, failures on members that are up", failed, 0, "writes"),
        Verdict(f"{title}: {who}, acknowledged and lost", lost, 0, "writes"),
    ]
