"""Is a history of registers linearizable: did each operation take effect at one instant between call and answer?

Each key is looked at by itself, since a history is linearizable if and only if each key's part of it is
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

# An honest history of 5000 operations on a key takes as many configurations; this many take a minute.
LIMIT = 2_000_000


@dataclass(frozen=True)
class Violation:
    """A key whose history no order explains; `window` are few operations of it that alone show this."""

    key: str
    why: str
    window: tuple[Operation, ...]

    def __str__(self) -> str:
        began = min(operation.invoked_ns for operation in self.window)
        lines = [f"  {_span(each, began)}  {each}" for each in self.window]
        return "\n".join([f"{self.key}: {self.why}; times in ms", *lines])


def find_violation(history: Iterable[Operation], *, limit: int = LIMIT) -> Violation | None:
    """The first key's violation, by name; None where every key has an order. Keys begin without a value."""
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
    telling = [each for each in effective if each.outcome == "ok" or each.sets]
    if alone := _unwritten(key, operations):
        return alone
    if has_order(telling, limit):
        return None
    window = _shrunk(_first_wrong(telling, limit), limit)
    return Violation(key, f"no order explains these {len(window)} operations", tuple(window))


def _unwritten(key: str, operations: Sequence[Operation]) -> Violation | None:
    """A value out of nowhere needs no search, and has plainer words. `operations` are sorted by their call."""
    setting: dict[str | None, Operation] = {}
    for each in operations:
        if each.sets and (each.value not in setting or setting[each.value].outcome == "failed"):
            setting[each.value] = each
    for each in operations:
        if each.kind != "read" or each.outcome != "ok" or each.value is None:
            continue
        source = setting.get(each.value)
        if why := _out_of_nowhere(each, source):
            return Violation(key, why, (each, source) if source else (each,))
    return None


def _out_of_nowhere(read: Operation, source: Operation | None) -> str:
    """`source` is the first that set this value, one that failed only where there is no other."""
    if source is None:
        return "a value was read that nobody wrote"
    if source.outcome == "failed":
        return "a write that failed for sure was read"
    return "a value was read before it was written" if source.invoked_ns > read.returned_ns else ""


# The window


def _first_wrong(operations: Sequence[Operation], limit: int) -> list[Operation]:
    """The shortest beginning that has no order: what was known when the answer came that cannot be right."""
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
    """Called until then; what only looks and had no answer by then says nothing yet."""
    begun = [each for each in operations if each.invoked_ns <= end_ns]
    return [
        replace(each, outcome="unknown") if each.kind == "cas" and each.returned_ns > end_ns else each
        for each in begun
        if each.sets or each.returned_ns <= end_ns
    ]


def _shrunk(operations: list[Operation], limit: int) -> list[Operation]:
    """Fewer that still have no order: large pieces are left out first, then single operations."""
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
    """Left out together with all that wrote the same values or needed them: then what had an order keeps it.

    Not so for a cas that did not swap: what it needed was any other value. While there is one, writes stay.
    """
    blind = any(each.kind == "cas" and not each.swapped for each in operations)
    gone = {each for each in some if not (blind and each.sets)}
    values: set[str | None] = set()
    while new := {each.value for each in gone if each.sets} - values:
        if None in new:  # what a key begins with cannot be left out
            return operations
        values |= new
        gone |= {
            each for each in operations if (each.sets and each.value in values) or each.needs_any(values)
        }
    return [each for each in operations if each not in gone]


def _span(operation: Operation, began_ns: int) -> str:
    begin = (operation.invoked_ns - began_ns) / 1e6
    if operation.outcome == "unknown":
        return f"{begin:10.3f} ..         ?"
    return f"{begin:10.3f} .. {(operation.returned_ns - began_ns) / 1e6:9.3f}"
