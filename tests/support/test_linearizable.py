"""The checker of histories of clients under load: it accepts all possible histories and no others."""

import itertools
import random
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.history import Kind, Outcome
from tests.support.linearizable import BadHistory, Operation, Undecided, Violation, find_violation

MS = 1_000_000


def parse_history(text: str) -> list[Operation]:
    """Parse lines of the form `CLIENT BEGIN-END WHAT`, with times in ms.

    WHAT is `w a` (write), `r a` (read), `c a b` (cas, swapped) or `n a b` (cas, not swapped). `-` means no value.
    At the end of a line, `?` means an unknown outcome and `!` a failure.
    """
    return [_operation(line.split()) for line in text.strip().splitlines()]


def _operation(words: list[str]) -> Operation:
    marks: dict[str, Outcome] = {"?": "unknown", "!": "failed"}
    outcome = marks.get(words[-1], "ok")
    client, span, what, *values = words if outcome == "ok" else words[:-1]
    begin, end = (int(number) * MS for number in span.split("-"))
    kinds: dict[str, Kind] = {"w": "write", "r": "read", "c": "cas", "n": "cas"}
    *expected, value = [None if each == "-" else each for each in values]
    return Operation(
        "k", kinds[what], client, begin, end, value, outcome,
        expected=expected[0] if expected else None, swapped=what != "n",
    )  # fmt: skip


GOOD = {
    "nothing": "",
    "one after the other": "A 0-1 r -\nA 2-3 w a\nB 4-5 r a\nA 6-7 w b\nB 8-9 r b",
    "a write is seen before it is acknowledged": "A 0-9 w a\nB 2-3 r a",
    "a write is not yet seen before it is acknowledged": "A 0-9 w a\nB 2-3 r -\nB 4-5 r a",
    "two writes at once, seen in either order": "A 0-9 w a\nB 0-9 w b\nC 10-11 r a\nC 12-13 r a",
    "two writes at once, both seen": "A 0-9 w a\nB 0-9 w b\nC 2-3 r b\nC 4-5 r a",
    "a write of unknown outcome that never happened": "A 0-1 w a ?\nB 2-3 r -\nB 90-91 r -",
    "one that happened late": "A 0-1 w a ?\nB 2-3 r -\nB 90-91 r a",
    "one that happened, was overwritten": "A 0-1 w a ?\nB 2-3 r a\nB 4-5 w b\nB 6-7 r b",
    "one that happened after a later write": "A 0-1 w a ?\nB 2-3 w b\nB 4-5 r b\nB 6-7 r a",
    "a failed write that no client read": "A 0-1 w a !\nB 2-3 r -",
    "a failed read says nothing": "A 0-1 w a\nB 2-3 r - !\nB 4-5 r z ?",
    "the same value twice": "A 0-1 w a\nA 2-3 w b\nA 4-5 w a\nB 6-7 r a",
    "the same value twice, once of unknown outcome": "A 0-1 w a\nA 2-3 w b\nA 4-5 w a ?\nB 6-7 r b\nB 8-9 r a",
    "a delete": "A 0-1 w a\nA 2-3 w -\nB 4-5 r -",
    "one cas of two swaps": "A 0-1 w a\nA 2-5 c a b\nB 3-4 n a c\nC 6-7 r b",
    "a chain of them": "A 0-1 c - a\nB 2-3 c a b\nA 4-5 n a c\nB 6-7 r b",
    "a cas of unknown outcome that happened late": "A 0-1 w a\nA 2-3 c a b ?\nB 4-5 r a\nB 6-7 r b",
    "a cas that needed one": "A 0-1 w a ?\nB 2-3 r -\nB 4-5 c a b\nB 6-7 n a c\nB 8-9 r b",
    "calls and answers at the same instant": "A 0-1 w a\nB 1-2 r -\nB 2-2 r a",
}

# Each impossible history, with the positions of the operations that prove it alone.
BAD = {
    "a stale read": ("A 0-1 w a\nA 2-3 w b\nB 4-5 r a", {0, 1, 2}),
    "a lost acknowledged write": ("A 0-1 w a\nA 2-3 w b\nB 4-5 r b\nC 6-7 r a\nC 8-9 r a", {0, 1, 3}),
    "a lost first write": ("A 0-1 w a\nB 2-3 r -", {0, 1}),
    "a value that no client wrote": ("A 0-1 w a\nB 2-3 r z", {1}),
    "a read before its write": ("B 0-1 r a\nA 2-3 w a", {0, 1}),
    "a read before its write of unknown outcome": ("B 0-1 r a\nA 2-3 w a ?", {0, 1}),
    "two reads out of order": ("A 0-9 w a\nB 1-2 r a\nC 3-4 r -", {0, 1, 2}),
    "two reads of writes at once out of order": (
        "A 0-9 w a\nB 0-9 w b\nC 10-11 r a\nD 12-13 r b",
        {0, 1, 2, 3},
    ),
    "a split brain": ("A 0-1 w a\nB 2-3 w b\nA 4-5 r a\nB 4-5 r b", {0, 1, 2}),
    "a write that failed shows up": ("A 0-1 w a\nA 2-3 w b !\nB 4-5 r b", {1, 2}),
    "a write of unknown outcome that was seen is gone": ("A 0-1 w a ?\nB 2-3 r a\nB 4-5 r -", {0, 1, 2}),
    "a write of unknown outcome comes twice": (
        "A 0-1 w a ?\nB 2-3 r a\nB 4-5 w b\nB 6-7 r b\nB 8-9 r a",
        {0, 1, 2, 4},
    ),
    "an overwritten value comes back": ("A 0-1 w a\nB 2-3 r a\nA 4-5 w b\nB 6-7 r b\nB 8-9 r a", {0, 2, 4}),
    "two cas from the same value swap": ("A 0-1 w a\nB 2-5 c a b\nC 3-4 c a d", {0, 1, 2}),
    "a cas swaps what is long gone": ("A 0-1 w a\nA 2-3 w b\nB 4-5 c a d", {0, 1, 2}),
    "a cas does not swap what is there": ("A 0-1 w a\nB 2-3 n a d", {0, 1}),
    "a swap is lost": ("A 0-1 w a\nB 2-3 c a b\nC 4-5 r a", {0, 1, 2}),
    "a deleted value is there": ("A 0-1 w a\nA 2-3 w -\nB 4-5 r a", {0, 1, 2}),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_a_possible_history_passes(text: str) -> None:
    assert find_violation(parse_history(text)) is None
    assert brute_force(parse_history(text)), "the oracle of these tests is wrong"


@pytest.mark.parametrize(("text", "window"), BAD.values(), ids=BAD.keys())
def test_an_impossible_history_is_rejected_with_a_minimal_window(text: str, window: set[int]) -> None:
    operations = parse_history(text)
    assert not brute_force(operations), "the oracle of these tests is wrong"
    violation = find_violation(operations)
    assert violation is not None
    shown = {(each.client, each.invoked_ns) for each in violation.window}
    assert {at for at, each in enumerate(operations) if (each.client, each.invoked_ns) in shown} == window


def test_a_violation_is_shown_with_its_operations_and_times() -> None:
    operations = parse_history("A 1-2 w a\nA 3-4 w b\nD 3-9 w c ?\nE 5-9 r c\nB 10-12 r a\nC 13-14 r c")
    assert str(find_violation(operations)) == (
        "k: no order explains these 3 operations; times in ms\n"
        "       0.000 ..     1.000  A: write 'a'\n"
        "       2.000 ..     3.000  A: write 'b'\n"
        "       9.000 ..    11.000  B: read 'a'"
    )


def test_a_violation_has_its_key() -> None:
    good = parse_history("A 0-1 w a\nB 2-3 r a")
    bad = [replace(each, key="l", client=each.client + "l") for each in parse_history("A 0-1 w a\nB 2-3 r -")]
    violation = find_violation(good + bad)
    assert violation is not None
    assert violation.key == "l"
    assert find_violation(good) is None


@pytest.mark.parametrize("text", ["A 5-4 w a", "A 0-5 w a\nA 4-6 r a"])
def test_a_history_that_no_client_can_make_is_an_error(text: str) -> None:
    with pytest.raises(BadHistory):
        find_violation(parse_history(text))


def test_a_search_over_the_limit_is_an_error() -> None:
    writes = "\n".join(f"W{number} 0-1 w {number % 5} ?" for number in range(20))
    reads = "\n".join(f"R {number}-{number} r {number % 5}" for number in range(2, 20))
    with pytest.raises(Undecided):
        find_violation(parse_history(f"{writes}\n{reads}\nR 50-51 r -"), limit=1000)


# Compared with brute force over all orders, and with real executions


def brute_force(operations: Sequence[Operation]) -> bool:
    """Return whether any order explains the history, by trying all. For few operations only."""
    certain = [each for each in operations if each.outcome == "ok"]
    optional = [each for each in operations if each.outcome == "unknown" and each.sets]
    return any(
        _explains(order)
        for count in range(len(optional) + 1)
        for chosen in itertools.combinations(optional, count)
        for order in itertools.permutations([*certain, *chosen])
    )


def _explains(order: Sequence[Operation]) -> bool:
    value: str | None = None
    for at, each in enumerate(order):
        if any(later.outcome == "ok" and later.returned_ns < each.invoked_ns for later in order[at + 1 :]):
            return False
        if each.kind == "read" and each.value != value:
            return False
        if each.kind == "cas" and (each.expected == value) is not each.swapped:
            return False
        value = each.value if each.kind == "write" or (each.kind == "cas" and each.swapped) else value
    return True


def executions(size: int, values: int) -> st.SearchStrategy[list[Operation]]:
    """Generate histories of real executions: each operation took effect at one instant of its span."""
    kinds: list[Kind] = ["read", "write", "cas"]
    step = st.tuples(
        st.sampled_from(kinds), st.integers(0, 5), st.integers(0, 5), st.integers(0, values - 1),
        st.integers(0, values - 1), st.sampled_from(["answered", "answered", "applied", "lost"]),
    )  # fmt: skip
    return st.lists(step, min_size=1, max_size=size).map(_execute)


def _execute(steps: Sequence[tuple[Kind, int, int, int, int, str]]) -> list[Operation]:
    """Execute each step for a client of its own around the instants 0, 3, 6, ..., so that spans overlap."""
    value: str | None = None
    done = []
    for at, (kind, before, after, new, expected, fate) in enumerate(steps):
        applied = fate != "lost"
        swapped = kind == "cas" and value == str(expected)
        seen = value if kind == "read" else str(new)
        outcome: Outcome = "ok" if fate == "answered" else "unknown"
        if outcome == "unknown" and kind == "cas":
            # The result is unknown, so `swapped` is the requested effect.
            swapped, applied = True, applied and swapped
        operation = Operation("k", kind, f"C{at}", 3 * at - before, 3 * at + after, seen, outcome)
        if kind == "cas":
            operation = replace(operation, expected=str(expected), swapped=swapped)
        done.append(operation)
        if applied and (kind == "write" or (kind == "cas" and swapped)):
            value = str(new)
    return done


@settings(max_examples=300, deadline=None)
@given(executions(size=40, values=4))
def test_every_real_execution_passes(operations: list[Operation]) -> None:
    assert find_violation(operations) is None


@settings(max_examples=400, deadline=None)
@given(executions(size=6, values=3), st.data())
def test_a_changed_history_gets_the_same_result_as_by_brute_force(
    operations: list[Operation], data: st.DataObject
) -> None:
    for at in data.draw(st.sets(st.integers(0, len(operations) - 1), max_size=3)):
        operations[at] = _changed(operations[at], data.draw(st.integers(0, 4)))
    violation = find_violation(operations)
    assert (violation is None) is brute_force(operations)
    if violation and "no order" in violation.why:
        assert not brute_force(violation.window), "the window alone must show it"


def _changed(operation: Operation, how: int) -> Operation:
    if how == 0:
        return replace(operation, value="2")
    if how == 1:
        return replace(operation, value=None)
    if how == 2:
        return replace(operation, outcome="ok")
    if how == 3:
        return replace(operation, swapped=not operation.swapped) if operation.kind == "cas" else operation
    return replace(operation, invoked_ns=operation.invoked_ns + 20, returned_ns=operation.returned_ns + 20)


# Size


def load_history(count: int, clients: int, keys: int, seed: int) -> list[Operation]:
    """Return a history of clients that read and write random keys. One response in fifty is lost."""
    randomness = random.Random(seed)
    values: dict[str, str | None] = {}
    free_at = dict.fromkeys(range(clients), 0)
    done = []
    for number in range(count):
        client = min(free_at, key=lambda each: free_at[each])
        key, begin = f"r{randomness.randrange(keys)}", free_at[client] + randomness.randrange(1, 20 * MS)
        end = begin + randomness.randrange(2 * MS, 30 * MS)
        free_at[client] = end
        done.append((begin + (end - begin) // 2, begin, end, client, key, number))
    operations = []
    for _, begin, end, client, key, number in sorted(done):
        reads = client % 2 == 0
        if not reads:
            values[key] = f"{client}:{number}"
        outcome: Outcome = "unknown" if randomness.random() < 0.02 else "ok"
        value = values.get(key)
        operations.append(
            Operation(key, "read" if reads else "write", f"C{client}", begin, end, value, outcome)
        )
    return operations


def test_a_long_history_takes_seconds() -> None:
    operations = load_history(30_000, clients=6, keys=10, seed=7)
    began = time.process_time()
    assert find_violation(operations) is None
    assert time.process_time() - began < 20


def test_one_wrong_read_in_a_long_history_is_found_with_a_small_window() -> None:
    operations = load_history(30_000, clients=6, keys=10, seed=8)
    reads = [at for at, each in enumerate(operations) if each.kind == "read" and each.outcome == "ok"]
    at = reads[len(reads) // 2]
    old = next(each for each in operations[at - 600 :] if each.key == operations[at].key and each.sets)
    operations[at] = replace(operations[at], value=old.value)
    began = time.process_time()
    violation = find_violation(operations)
    assert time.process_time() - began < 30
    assert isinstance(violation, Violation)
    assert operations[at] in violation.window
    assert len(violation.window) <= 4
