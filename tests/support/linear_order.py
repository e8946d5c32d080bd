"""The search for an order of one register's operations that explains all results.

The algorithm is that of Wing and Gong, with Lowe's optimisation: no configuration is visited twice.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tests.support.history import Operation


class Undecided(Exception):
    """There are more configurations than the limit: too many concurrent operations have an unknown outcome."""


class _Configuration(NamedTuple):
    """A state of the search: the first `base` operations took effect, and of the later ones those in `done`.

    Bit 0 of `done` is the operation at `base`, and is never set. `optional` has the bits of operations with an unknown
    outcome that took effect.
    """

    base: int
    done: int
    optional: int
    value: str | None

    def after(self, position: int, value: str | None) -> "_Configuration":
        done = self.done | 1 << (position - self.base)
        leading = (~done & (done + 1)).bit_length() - 1  # the number of ones at the low end
        return _Configuration(self.base + leading, done >> leading, self.optional, value)


def has_order(operations: Sequence[Operation], limit: int) -> bool:
    """Return whether an order explains these operations. All have the same key and are sorted by call time."""
    search = _Search(*_split_by_certainty(operations))
    first = search.with_reads_applied(_Configuration(0, 0, 0, None))
    waiting, visited = [first], {first}
    while waiting:
        configuration = waiting.pop()
        if configuration.base == len(search.certain):
            return True
        for following in search.following(configuration):
            if following not in visited:
                visited.add(following)
                waiting.append(following)
        if len(visited) > limit:
            raise Undecided(f"{operations[0].key}: more than {limit} configurations")
    return False


def _split_by_certainty(operations: Sequence[Operation]) -> tuple[list[Operation], list[Operation]]:
    """Return operations that took effect before they returned, and those that may have taken effect at any time.

    Consider a write of unknown outcome whose value no other operation wrote. If its value was read, it took effect
    before that read returned. If not, it can be left out, unless a cas depends on the value.
    """
    writes = Counter(each.value for each in operations if each.sets)
    reads: dict[str | None, int] = {}
    for each in operations:
        if each.kind == "read":
            reads[each.value] = min(each.returned_ns, reads.get(each.value, each.returned_ns))
    only_reads = not any(each.kind == "cas" for each in operations)
    certain, optional = [], []
    for each in operations:
        unique = each.kind == "write" and writes[each.value] == 1 and each.value is not None
        if each.outcome == "ok":
            certain.append(each)
        elif unique and each.value in reads:
            certain.append(replace(each, outcome="ok", returned_ns=reads[each.value]))
        elif not (unique and only_reads):
            optional.append(each)
    return certain, optional


@dataclass(frozen=True)
class _Search:
    certain: Sequence[Operation]
    optional: Sequence[Operation]

    def following(self, configuration: _Configuration) -> Iterator[_Configuration]:
        """Yield all configurations after one more operation."""
        positions, horizon = self._next(configuration)
        for position in positions:
            each = self.certain[position]
            if each.fits(configuration.value):  # fitting reads are already applied by `with_reads_applied`
                yield self.with_reads_applied(configuration.after(position, each.value))
        for bit, each in enumerate(self.optional):
            unused = not configuration.optional >> bit & 1
            if unused and each.invoked_ns <= horizon and each.fits(configuration.value):
                optional = configuration.optional | 1 << bit
                yield self.with_reads_applied(configuration._replace(optional=optional, value=each.value))

    def with_reads_applied(self, configuration: _Configuration) -> _Configuration:
        """Return the configuration after all fitting operations that change nothing. Applying them at once is safe."""
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
        """Return the possible next operations, and the time at which the first of them returned.

        An operation can be next if it was called before any remaining operation returned.
        """
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
