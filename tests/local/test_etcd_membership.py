"""Change the membership of real clusters with remote/etcd/grpc_client.py."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from etcdup.core.observed.member import ListedMember
from etcdup.remote.etcd.errors import EtcdRefused, LearnerUnsupported
from etcdup.remote.etcd.grpc_client import Etcd
from tests.support.etcd_cluster import EtcdCluster
from tests.support.etcd_wait import retry_while_refused, wait_for_status

S = 10.0  # more than any call here needs


@contextlib.asynccontextmanager
async def joining(cluster: EtcdCluster) -> AsyncIterator[tuple[Etcd, Etcd, int]]:
    """Yield a client of m1, a client of a running learner, and its ID. The member is removed afterwards."""
    async with cluster.client("m1") as client:
        member = cluster.new_member()
        initial = {each.name: each.peer_url for each in cluster.members.values()}
        try:
            added = await retry_while_refused(
                lambda: client.add_learner([member.peer_url], timeout_s=S), while_told="unhealthy cluster"
            )
            try:
                cluster.start(member.name, initial=initial)
                async with cluster.client(member.name) as learner:
                    await wait_for_status(learner, lambda seen: seen.is_learner)
                    yield client, learner, added.member_id
            finally:
                await retry_while_refused(
                    lambda: client.remove(added.member_id, timeout_s=S), while_told="unhealthy cluster"
                )
        finally:
            cluster.discard(member)
    cluster.wait_healthy()


async def test_a_learner_that_never_starts(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        url = "https://127.77.255.1:2380"
        learner = await retry_while_refused(
            lambda: client.add_learner([url], timeout_s=S), while_told="unhealthy cluster"
        )  # rule 25
        try:
            assert learner == ListedMember(learner.member_id, "", (url,), (), True)
            assert learner in await client.members(timeout_s=S)
            with pytest.raises(EtcdRefused, match="in sync with leader"):
                await client.promote(learner.member_id, timeout_s=S)
            with pytest.raises(EtcdRefused, match="too many learner"):
                await client.add_learner(["https://127.77.255.2:2380"], timeout_s=S)
        finally:
            await client.remove(learner.member_id, timeout_s=S)
        with pytest.raises(EtcdRefused, match="member"):
            await client.remove(learner.member_id, timeout_s=S)
        assert len(await client.members(timeout_s=S)) == 3


async def test_a_learner_joins_and_is_promoted(cluster: EtcdCluster) -> None:
    async with joining(cluster) as (client, learner, member_id):
        seen = await learner.status(timeout_s=S)
        assert (seen.member_id, seen.is_learner, seen.members) == (member_id, True, ())
        for refused in (
            learner.get(b"k", timeout_s=S),
            learner.members(timeout_s=S),
            learner.prove(b"proof", b"learner", timeout_s=S),
        ):
            with pytest.raises(LearnerUnsupported):
                await refused
        assert await learner.get(b"nothing", linearizable=False, timeout_s=S) is None

        await retry_while_refused(
            lambda: client.promote(member_id, timeout_s=S), while_told="in sync with leader"
        )
        await wait_for_status(learner, lambda seen: not seen.is_learner)
        await learner.prove(b"proof", b"voter", timeout_s=S)


async def test_peer_urls_are_changed(cluster: EtcdCluster) -> None:
    async with cluster.client("m1") as client:
        member = next(each for each in await client.members(timeout_s=S) if each.name == "m3")
        more = (*member.peer_urls, f"https://{cluster.members['m3'].address}:2381")
        for urls in (more, member.peer_urls):
            await client.update_peer_urls(member.member_id, urls, timeout_s=S)
            listed = await client.members(timeout_s=S)
            assert next(each for each in listed if each.name == "m3").peer_urls == urls
