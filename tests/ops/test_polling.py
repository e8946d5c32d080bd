"""`wait_until`: when it calls the condition, how long it waits, and what ends it."""

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from etcdup.errors import EtcdupError
from etcdup.ops.polling import LONGEST_POLL_S, POLL_S, MonotonicClock, WallClock, wait_until
from etcdup.testing.network import FakeNetwork
from tests.support.texts import Texts


def answers(*values: bool) -> Callable[[], Awaitable[bool]]:
    """A predicate that gives these answers, and the last one again and again."""
    left = list(values)

    async def predicate() -> bool:
        return left.pop(0) if len(left) > 1 else left[0]

    return predicate


async def test_a_condition_that_is_true_costs_no_time() -> None:
    clock = FakeNetwork()
    began = clock.now()
    assert await wait_until(clock, answers(True), 10.0)
    assert clock.now() == began


async def test_a_condition_is_checked_again_after_each_interval() -> None:
    clock = FakeNetwork()
    began = clock.now()
    assert await wait_until(clock, answers(False, False, True), 10.0, 3.0)
    assert clock.now() - began == pytest.approx(6.0)


async def test_a_condition_is_checked_once_more_after_the_timeout() -> None:
    clock = FakeNetwork()
    assert await wait_until(clock, answers(False, False, True), 4.0, 3.0)


async def test_a_wait_ends_after_the_timeout() -> None:
    clock = FakeNetwork()
    began = clock.now()
    assert not await wait_until(clock, answers(False), 1.0)
    assert 1.0 <= clock.now() - began < 1.0 + 2 * POLL_S


async def test_a_long_wait_polls_less_often() -> None:
    clock, checked = FakeNetwork(), list[float]()
    began = clock.now()

    async def predicate() -> bool:
        checked.append(clock.now() - began)
        return False

    await wait_until(clock, predicate, 60.0)
    assert len([each for each in checked if each <= 1.0]) >= 20
    assert len(checked) < 140
    assert max(later - earlier for earlier, later in pairwise(checked)) == pytest.approx(LONGEST_POLL_S)


async def test_an_error_of_the_condition_ends_the_wait(texts: Texts) -> None:
    async def fails() -> bool:
        raise EtcdupError("infra1: etcd does not stay up")

    with pytest.raises(EtcdupError) as caught:
        await wait_until(FakeNetwork(), fails, 10.0)
    texts(caught.value)


@pytest.mark.parametrize("clock", [WallClock(), MonotonicClock()])
async def test_a_real_clock_sleeps(clock: WallClock | MonotonicClock) -> None:
    began = clock.now()
    await clock.sleep(0.01)
    assert clock.now() - began >= 0.009
