"""Faults in the history of writers are reported: otherwise the bench would rate each contender as perfect."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.bench.interruption import Attempt, Downtime, Written, measure_interruption
from tests.bench.roll_table import roll_verdicts, show_interruptions

LATER = Downtime(100.0, 101.0)


def written(*ends: float, failed: Sequence[float] = (), lost: tuple[str, ...] = ()) -> Written:
    """Return a writer whose attempts took 10 ms each and ended at these seconds."""
    outcomes = [(end, "") for end in ends] + [(end, "EtcdUnavailable: gone") for end in failed]
    return Written(tuple(Attempt(end - 0.01, end, error) for end, error in sorted(outcomes)), lost)


def test_a_gap_of_one_writer_is_not_a_gap_of_all() -> None:
    seen = measure_interruption(
        {"a": written(1, 2, 5), "b": written(1, 2, 3, 4, 5)},
        {"a": Downtime(2.5, 4.5), "b": LATER},
    )
    assert (seen.gap_s, seen.up_gap_s, seen.down_gap_s) == (1, 1, 3)
    assert (seen.failed, seen.acknowledged) == (0, 8)


def test_a_common_gap_is_a_gap_of_all() -> None:
    seen = measure_interruption(
        {"a": written(1, 2, 5), "b": written(1.5, 2.5, 5.5)}, {"a": LATER, "b": LATER}
    )
    assert (seen.gap_s, seen.up_gap_s, seen.down_gap_s) == (2.5, 3, 0)


def test_failures_on_members_that_are_up_are_counted() -> None:
    histories = {"a": written(1, 4, failed=(2, 3)), "b": written(1, 2, 4, failed=(3,))}
    seen = measure_interruption(histories, {"a": Downtime(1.5, 2.5), "b": LATER})
    assert seen.failed == 3
    assert seen.failed_up == ("EtcdUnavailable: gone",)


def test_failures_after_a_restart_belong_to_it_until_the_first_success() -> None:
    seen = measure_interruption({"a": written(1, 4, 5, failed=(2, 3, 3.5))}, {"a": Downtime(1.5, 2.5)})
    assert seen.failed_up == ()
    assert seen.down_gap_s == 3


def test_one_hanging_write_is_a_failure_and_not_a_gap() -> None:
    others = written(*(number / 10 for number in range(10, 100)))
    hung = Attempt(2.05, 9.05, "EtcdTimeout: request timed out")
    seen = measure_interruption({"a": Written((*others.attempts, hung))}, {"a": Downtime(1.2, 1.4)})
    assert seen.failed_up == (hung.error,)
    assert seen.up_gap_s == pytest.approx(0.1)


def test_a_writer_without_another_success_has_a_gap_until_its_last_attempt() -> None:
    seen = measure_interruption(
        {"a": written(1, failed=(2, 3, 9)), "b": written(1, 2, 3)},
        {"a": LATER, "b": LATER},
    )
    assert seen.up_gap_s == pytest.approx(7.99)
    assert len(seen.failed_up) == 3
    assert seen.gap_s == pytest.approx(5.99)


def test_the_worst_round_decides_each_verdict() -> None:
    good = measure_interruption({"a": written(1, 1.1)}, {"a": LATER})
    bad = measure_interruption({"a": written(1, 3.5, failed=(2,), lost=("a/0",))}, {"a": LATER})
    assert [verdict.met for verdict in roll_verdicts("restart", "etcdup", [good, good])] == [True] * 5
    met = [verdict.met for verdict in roll_verdicts("restart", "etcdup", [good, bad])]
    assert met == [False, False, True, False, False]
    few, many = (replace(good, failed_up=("NoLeader: raft proposal dropped",) * count) for count in (5, 6))
    assert [verdict.met for verdict in roll_verdicts("restart", "etcdup", [few, few])] == [True] * 5
    assert [verdict.met for verdict in roll_verdicts("restart", "etcdup", [few, many])].index(False) == 2
    row = show_interruptions("restart", {"etcdup": [good, bad]}).splitlines()[-1]
    spread = "0.100 / 1.300 / 2.500"
    assert " ".join(row.split()) == f"etcdup {spread} {spread} 0.000 / 0.000 / 0.000 4 1 1 1"
