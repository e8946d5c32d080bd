"""Checks whether a history is linearizable: each operation took effect at one instant between call and response.

Each key is checked separately, because a history is linearizable if and only if each key's part of it is
(Herlihy and Wing).

    violation = find_violation(history)
    assert violation is None, str(violation)
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tests.support.history import BadHistory, Operation, check_clients
from tests.support.linear_order import Undecided, has_order

__all__ = ["BadHistory", "Operation", "Undecided", "Violation", "find_violation"]

# A valid history of 5000 operations on a key needs as many configurations. This many take a minute.
LIMIT = 2_000_000


@dataclass(frozen=True)
class Violation:
    """A key whose history no order explains. `window` has few of its operations that prove it alone."""

    key: str
    why: str
    window: tuple[Operation, ...]

    def __str__(self) -> str:
        began = min(operation.invoked_ns for operation in self.window)
        lines = [f"  {_span(each, began)}  {each}" for each in self.window]
        return "\n".join([f"{self.key}: {self.why}; times in ms", *lines])


def find_violation(history: Iterable[Operation], *, limit: int = LIMIT) -> Violation | None:
    """Return the violation of the first key by name, or None. Keys have no value at the start."""
    by_key: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in sorted(history, key=lambda each: each.invoked_ns):
        by_key[operation.key].append(operation)
    check_clients(operation for key in by_key for operation in by_key[key])
    for key in sorted(by_key):
        if violation := _violation_of(key, by_key[key], limit):
            return violation
    return None


def _violation_of(key: str, operations: list[Operation], limit: int) -> Violation | None:
    effective = [each for each in operations if each.outcome != "failed"]
    relevant = [each for each in effective if each.outcome == "ok" or each.sets]
    if unexplained := _unexplained_read(key, operations):
        return unexplained
    if has_order(relevant, limit):
        return None
    window = _minimise(_shortest_wrong_prefix(relevant, limit), limit)
    return Violation(key, f"no order explains these {len(window)} operations", tuple(window))


def _unexplained_read(key: str, operations: Sequence[Operation]) -> Violation | None:
    """Return a violation by a read value that no write explains. `operations` are sorted by call time.

    This needs no search, and gives a clearer message.
    """
    setting: dict[str | None, Operation] = {}
    for each in operations:
        if each.sets and (each.value not in setting or setting[each.value].outcome == "failed"):
            setting[each.value] = each
    for each in operations:
        if each.kind != "read" or each.outcome != "ok" or each.value is None:
            continue
        source = setting.get(each.value)
        if why := _why_unexplained(each, source):
            return Violation(key, why, (each, source) if source else (each,))
    return None


def _why_unexplained(read: Operation, source: Operation | None) -> str:
    """Return why a read is wrong, or "".

    `source` is the first operation that set the value. It is a failed one only if there is no other.
    """
    if source is None:
        return "a value was read that no client wrote"
    if source.outcome == "failed":
        return "the value of a failed write was read"
    return "a value was read before it was written" if source.invoked_ns > read.returned_ns else ""


# The window


def _shortest_wrong_prefix(operations: Sequence[Operation], limit: int) -> list[Operation]:
    """Return the shortest prefix of the history that has no order. It ends with the first wrong response."""
    ends = sorted(each.returned_ns for each in operations if each.outcome == "ok")
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if has_order(_until(operations, ends[middle]), limit):
            low = middle + 1
        else:
            high = middle
    return _until(operations, ends[low])


def _until(operations: Sequence[Operation], end_ns: int) -> list[Operation]:
    """Return the operations that were called until then. Reads without a response until then are left out."""
    called = [each for each in operations if each.invoked_ns <= end_ns]
    return [
        replace(each, outcome="unknown") if each.kind == "cas" and each.returned_ns > end_ns else each
        for each in called
        if each.sets or each.returned_ns <= end_ns
    ]


def _minimise(operations: list[Operation], limit: int) -> list[Operation]:
    """Return fewer operations that still have no order. Large pieces are left out first, then single operations."""
    size = max(1, len(operations) // 2)
    while True:
        before, at = len(operations), 0
        while at < len(operations):
            fewer = _without(operations, operations[at : at + size])
            if len(fewer) < len(operations) and not has_order(fewer, limit):
                operations = fewer
            else:
                at += size
        if size == 1 and len(operations) == before:
            return operations
        size = max(1, size // 2)


def _without(operations: list[Operation], some: Sequence[Operation]) -> list[Operation]:
    """Return the operations without some, and without all that wrote or needed the same values.

    Then a history that has an order keeps one. A cas that did not swap needed any other value, so writes are kept if
    there is such a cas.
    """
    has_failed_swap = any(each.kind == "cas" and not each.swapped for each in operations)
    left_out = {each for each in some if not (has_failed_swap and each.sets)}
    values: set[str | None] = set()
    while new := {each.value for each in left_out if each.sets} - values:
        if None in new:  # the state of a new key cannot be left out
            return operations
        values |= new
        left_out |= {
            each for each in operations if (each.sets and each.value in values) or each.needs_any(values)
        }
    return [each for each in operations if each not in left_out]


def _span(operation: Operation, began_ns: int) -> str:
    begin = (operation.invoked_ns - began_ns) / 1e6
    if operation.outcome == "unknown":
        return f"{begin:10.3f} ..         ?"
    return f"{begin:10.3f} .. {(operation.returned_ns - began_ns) / 1e6:9.3f}"
