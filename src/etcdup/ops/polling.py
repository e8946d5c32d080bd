"""Poll until a condition is true: the one polling loop of all operations, and the clocks that it waits on."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

# The interval for conditions that cost little, such as a status request to each member. A condition that reads a
# log or a whole keyspace needs a longer interval.
POLL_S = 0.05


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

    The predicate is called at once, then after each `interval_s`, and one last time after the timeout. It may raise
    to end the wait early.
    """
    ends = clock.now() + timeout_s
    while not await predicate():
        if clock.now() >= ends:
            return False
        await clock.sleep(interval_s)
    return True
