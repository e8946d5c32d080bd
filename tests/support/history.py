"""Histories: the requests of clients to a key-value store, with times and results."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["read", "write", "cas"]
Outcome = Literal["ok", "failed", "unknown"]


class BadHistory(Exception):
    """No clients can have made this history, so it cannot be checked."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A request and its result. The value None means that the key does not exist; a write of None is a delete.

    `value` is what a read returned, or what a write or cas sets. A cas sets it if the key has the value `expected`, and
    `swapped` is its result. "failed" was never applied. "unknown" may have been applied at any time after its call,
    and its `returned_ns` is ignored. All times are of one monotonic clock.
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
        """Return whether it sets the value. A cas with unknown outcome may set it."""
        return self.kind == "write" or (self.kind == "cas" and self.swapped)

    def needs_any(self, values: Container[str | None]) -> bool:
        """Return whether it needs one of these values to have its result."""
        if self.kind == "read":
            return self.value in values
        return self.kind == "cas" and self.swapped and self.expected in values

    def fits(self, value: str | None) -> bool:
        """Return whether its result is right if the key has this value."""
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
    """Raise BadHistory if a client has two requests at once, or a response before its call."""
    busy_until: dict[str, Operation] = {}
    for each in sorted(operations, key=lambda each: each.invoked_ns):
        if each.outcome == "ok" and each.returned_ns < each.invoked_ns:
            raise BadHistory(f"a response before its call: {each}")
        last = busy_until.get(each.client)
        if last and last.outcome == "ok" and last.returned_ns > each.invoked_ns:
            raise BadHistory(f"two requests of one client at once: {last}; {each}")
        busy_until[each.client] = each
