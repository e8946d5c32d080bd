"""The rolling restart's part of the table: its effects on concurrent writers, and their limits."""

from collections.abc import Mapping, Sequence
from statistics import median

from tests.bench.interruption import Interruption
from tests.bench.verdict import Verdict, columns

GAP_LIMIT_S = 1.0
# A leader drops writes during a transfer of its leadership (rule 39). On average, each transfer dropped 2 to 4 writes
# at 300 writes per second on a busy machine.
DROPPED = ("raft proposal dropped", "request timed out")
DROPPED_LIMIT = 5


def show_interruptions(title: str, seen: Mapping[str, Sequence[Interruption]]) -> str:
    """Return a table with gaps as min / median / max over the rounds, and counts over all rounds.

    A writer does not wait after a failure, so the count of failed requests grows with the downtime of members.
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
        _spread([each.down_gap_s for each in rounds]),
        str(sum(each.acknowledged for each in rounds)),
        str(sum(each.failed for each in rounds)),
        str(sum(len(each.failed_up) for each in rounds)),
        str(sum(len(each.lost) for each in rounds)),
    )


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in (min(values), median(values), max(values)))


def roll_verdicts(title: str, who: str, rounds: Sequence[Interruption]) -> list[Verdict]:
    """Return the verdicts on the worst round, because each round must meet the limits."""
    gap_s = max(each.gap_s for each in rounds)
    up_gap_s = max(each.up_gap_s for each in rounds)
    dropped = max(sum(map(_is_dropped, each.failed_up)) for each in rounds)
    failed = sum(not _is_dropped(error) for each in rounds for error in each.failed_up)
    lost = sum(len(each.lost) for each in rounds)
    return [
        Verdict(f"{title}: {who}, longest gap of all writers", gap_s, GAP_LIMIT_S, "s"),
        Verdict(f"{title}: {who}, longest gap of a member that is up", up_gap_s, GAP_LIMIT_S, "s"),
        Verdict(
            f"{title}: {who}, writes dropped by a transfer of leadership", dropped, DROPPED_LIMIT, "writes"
        ),
        Verdict(f"{title}: {who}, other failed writes to members that are up", failed, 0, "writes"),
        Verdict(f"{title}: {who}, lost acknowledged writes", lost, 0, "writes"),
    ]


def _is_dropped(error: str) -> bool:
    return any(text in error for text in DROPPED)
