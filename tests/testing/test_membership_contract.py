"""The contract of membership changes, tested with the fake etcd and with real etcd."""

from pathlib import Path

import pytest

from tests.support.etcd_binaries import why_not
from tests.support.real_and_fake_etcd import ClusterUnderTest, fake_cluster, real_cluster
from tests.testing.membership_contract import PROMISES, Promise, move_leader_to

VERSION = "3.6.14"


def named(promise: Promise) -> str:
    return getattr(promise, "__name__", "")


@pytest.mark.parametrize("promise", PROMISES, ids=named)
async def test_the_contract_with_a_fake_cluster(promise: Promise) -> None:
    await assert_keeps(await fake_cluster(VERSION), promise)


@pytest.mark.skipif(why_not(VERSION) is not None, reason=why_not(VERSION) or "")
@pytest.mark.parametrize("promise", PROMISES, ids=named)
async def test_the_contract_with_a_real_cluster(promise: Promise, tmp_path: Path) -> None:
    with real_cluster(VERSION, tmp_path) as place:
        await assert_keeps(place, promise)


async def assert_keeps(place: ClusterUnderTest, promise: Promise) -> None:
    await move_leader_to(place, "m1")
    await promise(place)
