"""Histories: what clients asked a store of keys for, when, and what they were told."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["read", "write", "cas"]
Outcome = Literal["ok", "failed", "unknown"]


class BadHistory(Exception):
    """The history is none that clients could have made, so that nothing can be said about it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client asked for and was told. None is a key without a value; a write of None is a delete.

    `value` is what a read saw, and what a write or cas set. A cas sets it where `expected` stood before, and
    `swapped` is its answer. "failed" is for sure: it was never applied. "unknown" may have been applied at any
    time after it was called, and `returned_ns` does not count. Times are of one monotonic clock.
    """

    key: str
    kind: Kind
    client: str
    invoked_ns: int
    returned_ns: int
    value: str | None
    outcome: Outcome = "ok"
    expected: str | None = None
    swapped: bool = True

    @property
    def sets(self) -> bool:
        """Whether the key's value is another one afterwards; of a cas with unknown outcome, perhaps."""
        return self.kind == "write" or (self.kind == "cas" and self.swapped)

    def needs_any(self, values: Container[str | None]) -> bool:
        """Whether it could only have happened while the key had one of these values."""
        if self.kind == "read":
            return self.value in values
        return self.kind == "cas" and self.swapped and self.expected in values

    def fits(self, value: str | None) -> bool:
        """Whether its answer is right where the key has this value."""
        if self.kind == "read":
            return self.value == value
        return self.kind == "write" or (self.expected == value) is self.swapped

    def __str__(self) -> str:
        if self.kind == "cas":
            what = f"cas {self.expected!r} -> {self.value!r}" + ("" if self.swapped else ": not swapped")
        else:
            what = f"{self.kind} {self.value!r}"
        return f"{self.client}: {what}" + ("" if self.outcome == "ok" else f" ({self.outcome})")


def check_clients(operations: Iterable[Operation]) -> None:
    """A client does one thing after the other, whatever the key."""
    busy_until: dict[str, Operation] = {}
    for each in sorted(operations, key=lambda each: each.invoked_ns):
        if each.outcome == "ok" and each.returned_ns < each.invoked_ns:
            raise BadHistory(f"an answer before its call: {each}")
        last = busy_until.get(each.client)
        if last and last.outcome == "ok" and last.returned_ns > each.invoked_ns:
            raise BadHistory(f"two calls of one client at once: {last}; {each}")
        busy_until[each.client] = each
