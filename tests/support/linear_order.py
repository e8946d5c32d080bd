"""The search for an order of one register's operations that explains every answer.

Wing and Gong's, in Lowe's form: a configuration is never entered twice.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.support.history import Operation


class Undecided(Exception):
    """More configurations than the limit allows: too many operations of unknown outcome at the same time."""


class _Configuration(NamedTuple):
    """How far a search is: the first `base` operations took effect, and of the later ones those in `done`.

    Bit 0 of `done` is the operation at `base`; it is never set. `loose` are bits of those of unknown outcome.
    """

    base: int
    done: int
    loose: int
    value: str | None

    def after(self, position: int, value: str | None) -> "_Configuration":
        done = self.done | 1 << (position - self.base)
        gone = (~done & (done + 1)).bit_length() - 1  # ones at the low end
        return _Configuration(self.base + gone, done >> gone, self.loose, value)


def has_order(operations: Sequence[Operation], limit: int) -> bool:
    """Whether some order explains these, all of one key, sorted by their call."""
    search = _Search(*_narrowed(operations))
    first = search.with_reads_applied(_Configuration(0, 0, 0, None))
    waiting, entered = [first], {first}
    while waiting:
        configuration = waiting.pop()
        if configuration.base == len(search.certain):
            return True
        for following in search.following(configuration):
            if following not in entered:
                entered.add(following)
                waiting.append(following)
        if len(entered) > limit:
            raise Undecided(f"{operations[0].key}: more than {limit} configurations")
    return False


def _narrowed(operations: Sequence[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Those that took effect before they returned, and those that may have, any time.

    A write of unknown outcome whose value nobody else wrote is of the first kind once it was read: it took effect
    before that read returned. If it was never read, leaving it out changes nothing, where only reads look.
    """
    writes = Counter(each.value for each in operations if each.sets)
    reads: dict[str | None, int] = {}
    for each in operations:
        if each.kind == "read":
            reads[each.value] = min(each.returned_ns, reads.get(each.value, each.returned_ns))
    only_reads = not any(each.kind == "cas" for each in operations)
    certain, loose = [], []
    for each in operations:
        lone = each.kind == "write" and writes[each.value] == 1 and each.value is not None
        if each.outcome == "ok":
            certain.append(each)
        elif lone and each.value in reads:
            certain.append(replace(each, outcome="ok", returned_ns=reads[each.value]))
        elif not (lone and only_reads):
            loose.append(each)
    return certain, loose


@dataclass(frozen=True)
class _Search:
    certain: Sequence[Operation]
    loose: Sequence[Operation]

    def following(self, configuration: _Configuration) -> Iterator[_Configuration]:
        """One operation on, in every way there is."""
        positions, horizon = self._next(configuration)
        for position in positions:
            each = self.certain[position]
            if each.fits(configuration.value):  # whatever only looks, and fits, was taken by `settled`
                yield self.with_reads_applied(configuration.after(position, each.value))
        for bit, each in enumerate(self.loose):
            unused = not configuration.loose >> bit & 1
            if unused and each.invoked_ns <= horizon and each.fits(configuration.value):
                loose = configuration.loose | 1 << bit
                yield self.with_reads_applied(configuration._replace(loose=loose, value=each.value))

    def with_reads_applied(self, configuration: _Configuration) -> _Configuration:
        """With all that only looks, may be next, and fits: taking it at once never spoils an order."""
        while True:
            positions, _ = self._next(configuration)
            fitting = [at for at in positions if self._is_read_only(at, configuration.value)]
            if not fitting:
                return configuration
            for position in fitting:
                configuration = configuration.after(position, configuration.value)

    def _is_read_only(self, position: int, value: str | None) -> bool:
        return not self.certain[position].sets and self.certain[position].fits(value)

    def _next(self, configuration: _Configuration) -> tuple[list[int], float]:
        """Which may be next: called before any other that is left returned; and when the first of those did."""
        found: list[int] = []
        horizon = math.inf
        done = configuration.done
        for position in range(configuration.base, len(self.certain)):
            each = self.certain[position]
            if each.invoked_ns > horizon:
                break
            if not done & 1:
                found.append(position)
                horizon = min(horizon, each.returned_ns)
            done >>= 1
        return found, horizon
