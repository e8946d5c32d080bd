"""The contract of guarded writes, tested with the fake etcd and with real etcd."""

from pathlib import Path

import pytest

from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not
from tests.support.real_and_fake_etcd import fake_cluster, real_cluster
from tests.testing.key_contract import PROMISES
from tests.testing.membership_contract import Promise, move_leader_to

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_the_contract_with_a_fake_cluster(promise: Promise) -> None:
    place = await fake_cluster(VERSIONS[-1])
    await move_leader_to(place, "m1")
    await promise(place)


@pytest.mark.parametrize("version", one_in_turn(*VERSIONS))
async def test_the_contract_with_a_real_cluster(version: str, tmp_path: Path) -> None:
    if why := why_not(version):
        pytest.skip(why)
    with real_cluster(version, tmp_path) as place:
        await move_leader_to(place, "m1")
        for promise in PROMISES:
            async with place.client("m1") as client:
                for key in (b"/k", b"/l", *(b"/k/%d" % number for number in range(128)), b"/k/a", b"/k/b"):
                    await client.delete(key, timeout_s=10.0)
            await promise(place)
