"""Poll until a condition is true: the one polling loop of all operations, and the clocks that it waits on."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

# The interval for conditions that cost little, such as a status request to each member. A condition that reads a
# log or a whole keyspace needs a longer interval.
POLL_S = 0.05
# A long wait polls less often: after this part of the time that has passed, and at least once per second. Requests cost
# CPU time of members that may be starting.
PART_OF_WAIT = 0.05
LONGEST_POLL_S = 1.0


class Clock(Protocol):
    """The time, and a sleep that makes it pass. Tests have a clock that does not sleep."""

    def now(self) -> float:
        """Return the time in seconds. The clock of a World counts from the Unix epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for this many seconds."""
        ...


class WallClock:
    """The time of day on this machine."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class MonotonicClock:
    """Seconds since an arbitrary point in time. A change of the machine's time does not affect it."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def wait_until(
    clock: Clock,
    predicate: Callable[[], Awaitable[bool]],
    timeout_s: float = math.inf,
    interval_s: float = POLL_S,
) -> bool:
    """Return True as soon as `predicate` returns True, and False after `timeout_s`.

    The predicate is called at once, then after each interval, and one last time after the timeout. It may raise to end
    the wait early. The interval is `interval_s` at first, and longer in a long wait.
    """
    began = clock.now()
    while not await predicate():
        passed = clock.now() - began
        if passed >= timeout_s:
            return False
        await clock.sleep(max(interval_s, min(passed * PART_OF_WAIT, LONGEST_POLL_S)))
    return True
