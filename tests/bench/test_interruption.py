"""Bad histories must look bad: a bench that sees nothing would call every contender perfect."""

from collections.abc import Sequence

import pytest

from tests.bench.interruption import Attempt, Away, Written, judge
from tests.bench.roll_table import roll_verdicts, show_interruptions

NOT_YET = Away(100.0, 101.0)


def written(*ends: float, failed: Sequence[float] = (), lost: tuple[str, ...] = ()) -> Written:
    """A writer whose attempts took 10 ms each and ended at these seconds."""
    outcomes = [(end, "") for end in ends] + [(end, "EtcdUnavailable: gone") for end in failed]
    return Written(tuple(Attempt(end - 0.01, end, error) for end, error in sorted(outcomes)), lost)


def test_a_gap_that_other_writers_fill_is_none_of_all() -> None:
    seen = judge(
        {"a": written(1, 2, 5), "b": written(1, 2, 3, 4, 5)},
        {"a": Away(2.5, 4.5), "b": NOT_YET},
    )
    assert (seen.gap_s, seen.up_gap_s, seen.away_gap_s) == (1, 1, 3)
    assert (seen.failed, seen.acknowledged) == (0, 8)


def test_a_gap_that_no_writer_fills_is_one_of_all() -> None:
    seen = judge({"a": written(1, 2, 5), "b": written(1.5, 2.5, 5.5)}, {"a": NOT_YET, "b": NOT_YET})
    assert (seen.gap_s, seen.up_gap_s, seen.away_gap_s) == (2.5, 3, 0)


def test_failures_count_against_the_member_that_was_up() -> None:
    histories = {"a": written(1, 4, failed=(2, 3)), "b": written(1, 2, 4, failed=(3,))}
    seen = judge(histories, {"a": Away(1.5, 2.5), "b": NOT_YET})
    assert seen.failed == 3
    assert seen.failed_up == ("EtcdUnavailable: gone",)


def test_failures_after_the_restart_still_belong_to_it_until_the_first_success() -> None:
    seen = judge({"a": written(1, 4, 5, failed=(2, 3, 3.5))}, {"a": Away(1.5, 2.5)})
    assert seen.failed_up == ()
    assert seen.away_gap_s == 3


def test_a_write_that_hung_while_others_went_on_is_a_failure_and_no_gap() -> None:
    went_on = written(*(number / 10 for number in range(10, 100)))
    hung = Attempt(2.05, 9.05, "EtcdTimeout: request timed out")
    seen = judge({"a": Written((*went_on.attempts, hung))}, {"a": Away(1.2, 1.4)})
    assert seen.failed_up == (hung.error,)
    assert seen.up_gap_s == pytest.approx(0.1)


def test_a_writer_that_never_came_back_has_a_gap_until_nothing_more_was_tried() -> None:
    seen = judge({"a": written(1, failed=(2, 3, 9)), "b": written(1, 2, 3)}, {"a": NOT_YET, "b": NOT_YET})
    assert seen.up_gap_s == pytest.approx(7.99)
    assert len(seen.failed_up) == 3
    assert seen.gap_s == pytest.approx(5.99)


def test_every_promise_is_judged_by_its_worst_round() -> None:
    good = judge({"a": written(1, 1.1)}, {"a": NOT_YET})
    bad = judge({"a": written(1, 3.5, failed=(2,), lost=("a/0",))}, {"a": NOT_YET})
    assert [verdict.met for verdict in roll_verdicts("restart", "etcdup", [good, good])] == [True] * 4
    assert [verdict.met for verdict in roll_verdicts("restart", "etcdup", [good, bad])] == [False] * 4
    row = show_interruptions("restart", {"etcdup": [good, bad]}).splitlines()[-1]
    spread = "0.100 / 1.300 / 2.500"
    assert " ".join(row.split()) == f"etcdup {spread} {spread} 0.000 / 0.000 / 0.000 4 1 1 1"
