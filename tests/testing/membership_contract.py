"""What a membership change does to a cluster. Real etcd and the fake both fulfil this contract.

Each takes a Place: three healthy members m1, m2 and m3, of which m1 leads, and room for more.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import pytest

from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import (
    EtcdRefused,
    EtcdRpcError,
    EtcdTimeout,
    EtcdUnavailable,
    LearnerUnsupported,
)
from tests.support.real_and_fake_etcd import ClusterUnderTest

S = 10.0  # More than each call here needs.
PATIENCE_S = 30.0
NOWHERE = "https://127.77.255.1:2380"

Promise = Callable[[ClusterUnderTest], Awaitable[None]]
Answer = TypeVar("Answer")


async def adds_one_learner_at_a_time(place: ClusterUnderTest) -> None:
    """Rules 27 and 29."""
    async with place.client("m1") as client:
        learner = await add_learner(place, client, NOWHERE)
        assert learner == ListedMember(learner.member_id, "", (NOWHERE,), (), True)
        assert learner in await client.members(timeout_s=S)
        with pytest.raises(EtcdRefused, match="in sync with leader"):
            await client.promote(learner.member_id, timeout_s=S)
        with pytest.raises(EtcdRefused, match="too many learner members"):
            await client.add_learner(["https://127.77.255.2:2380"], timeout_s=S)
        with pytest.raises(EtcdRefused, match="Peer URLs already exists"):
            await client.add_learner([place.peer_url("m2")], timeout_s=S)
        await client.remove(learner.member_id, timeout_s=S)
        await place.wait(1.1)  # Within one second etcd creates the same ID, which was removed.
        again = await add_learner(place, client, NOWHERE)
        assert again.member_id != learner.member_id, "a member that is added again has another ID"
        await client.remove(again.member_id, timeout_s=S)
        with pytest.raises(EtcdRefused, match="member not found"):
            await client.remove(again.member_id, timeout_s=S)
        with pytest.raises(EtcdRefused, match="member not found"):
            await client.promote(again.member_id, timeout_s=S)
        voter = (await client.members(timeout_s=S))[0]
        with pytest.raises(EtcdRefused, match="can only promote a learner member"):
            await client.promote(voter.member_id, timeout_s=S)


async def lets_a_learner_join_and_become_a_voter(place: ClusterUnderTest) -> None:
    """Rules 29 to 31."""
    name = place.new_member()
    async with place.client("m1") as client, place.client(name) as learner:
        joining = await add_learner(place, client, place.peer_url(name))
        await place.start(name, await list_for_new_member(place, client, name))
        await wait_for_status(place, learner, lambda said: said.is_learner)
        said = await learner.status(timeout_s=S)
        assert (said.member_id, said.members) == (joining.member_id, ())
        assert said.leader_id in {member.member_id for member in await client.members(timeout_s=S)}
        for refused in (
            learner.get(b"k", timeout_s=S),
            learner.members(timeout_s=S),
            learner.prove(b"proof", b"learner", timeout_s=S),
        ):
            with pytest.raises(LearnerUnsupported):
                await refused
        assert await learner.get(b"nothing", linearizable=False, timeout_s=S) is None
        await retry_while_refused(
            place, lambda: client.promote(joining.member_id, timeout_s=S), "in sync with leader"
        )
        await wait_for_status(place, learner, lambda said: not said.is_learner)
        await learner.prove(b"proof", b"voter", timeout_s=S)
        own = next(each for each in await learner.members(timeout_s=S) if each.name == name)
        assert (own.member_id, own.is_learner) == (joining.member_id, False)
        assert own.client_urls


async def refuses_a_member_with_another_member_list(place: ClusterUnderTest) -> None:
    name = place.new_member()
    async with place.client("m1") as client:
        known = await list_for_new_member(place, client)
        await place.start(name, known | {name: place.peer_url(name)})
        assert await place.wait_for_end(name) != 0
        assert "member count is unequal" in place.log(name)
        place.wipe(name)
        joining = await add_learner(place, client, NOWHERE)
        await place.start(name, known | {name: place.peer_url(name)})
        assert await place.wait_for_end(name) != 0
        assert "error validating peerURLs" in place.log(name)
        await client.remove(joining.member_id, timeout_s=S)


async def ends_a_removed_member(place: ClusterUnderTest) -> None:
    """Rule 33: it exits with status 0, also if its status is requested in its last second."""
    async with place.client("m1") as client, place.client("m3") as removed:
        await place.wait(6)
        await client.remove(await find_id(client, "m3"), timeout_s=S)
        await wait_until_silent(place, removed)
        assert await place.wait_for_end("m3") == 0
        assert "the member has been permanently removed from the cluster" in place.log("m3")
        assert {member.name for member in await client.members(timeout_s=S)} == {"m1", "m2"}
        await client.prove(b"proof", b"two", timeout_s=S)


async def never_continues_as_a_wiped_voter(place: ClusterUnderTest) -> None:
    """Rule 32: if the leader has recorded how much of the log that voter had. For a voter that was itself the leader
    no member has recorded it, so it catches up."""
    async with place.client("m1") as client:
        await client.prove(b"proof", b"with it", timeout_s=S)
        place.wipe("m3")
        await place.start("m3", await list_for_new_member(place, client))
        assert await place.wait_for_end("m3") != 0
        assert "tocommit(" in place.log("m3")
        await client.prove(b"proof", b"without it", timeout_s=S)


async def refuses_to_add_while_a_voter_is_dead_and_removes_it(place: ClusterUnderTest) -> None:
    """Rules 26 and 28."""
    async with place.client("m1") as client:
        await place.wait(6)
        dead = await find_id(client, "m3")
        place.kill("m3")
        await place.wait(2)
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await client.add_learner([NOWHERE], timeout_s=S)
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await client.remove(await find_id(client, "m2"), timeout_s=S)
        await client.remove(dead, timeout_s=S)
        assert (await add_learner(place, client, NOWHERE)).is_learner


async def refuses_to_add_right_after_a_start(place: ClusterUnderTest) -> None:
    """Rule 25."""
    await place.stop("m2")
    await place.start("m2")
    async with place.client("m2") as client:
        await wait_for_status(place, client, lambda said: said.leader_id != 0)
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await client.add_learner([NOWHERE], timeout_s=S)
        assert (await add_learner(place, client, NOWHERE)).is_learner


async def changes_nothing_without_a_quorum(place: ClusterUnderTest) -> None:
    """Rule 62."""
    async with place.client("m1") as client:
        members = await client.members(timeout_s=S)
        place.kill("m2")
        place.kill("m3")
        await place.wait(3)
        said = await client.status(timeout_s=S)
        assert (said.leader_id, said.members) == (0, members)
        assert said.errors == ("etcdserver: no leader",)
        with pytest.raises(EtcdTimeout):
            await client.remove(await find_id(client, "m2"), timeout_s=2)
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await client.remove(await find_id(client, "m1"), timeout_s=2)
        with pytest.raises(EtcdTimeout):
            await client.update_peer_urls(members[0].member_id, [NOWHERE], timeout_s=2)
        with pytest.raises(EtcdTimeout):
            await client.members(timeout_s=2)
        with pytest.raises(EtcdRefused, match="unhealthy cluster"):
            await client.add_learner([NOWHERE], timeout_s=S)
        assert await client.members(linearizable=False, timeout_s=S) == members
        await place.stop("m1")
        with pytest.raises(EtcdUnavailable):
            await client.status(timeout_s=2)
        await place.start("m1")
        await place.wait(1)
        with pytest.raises((EtcdTimeout, EtcdUnavailable)):
            await client.status(timeout_s=2)


async def keeps_a_member_whose_listed_url_is_wrong(place: ClusterUnderTest) -> None:
    """Rules 19 and 36: one of two members must reach the other, and a URL that is in use is refused."""
    async with place.client("m1") as client, place.client("m3") as third:
        own = await find_id(client, "m3")
        with pytest.raises(EtcdRefused, match="Peer URLs already exists"):
            await client.update_peer_urls(own, [place.peer_url("m2")], timeout_s=S)
        with pytest.raises(EtcdRefused, match="member not found"):
            await client.update_peer_urls(own + 1, [NOWHERE], timeout_s=S)
        await client.update_peer_urls(own, [NOWHERE], timeout_s=S)
        assert next(
            each for each in await client.members(timeout_s=S) if each.member_id == own
        ).peer_urls == (NOWHERE,)
        await place.wait(1)
        await third.prove(b"proof", b"half a link", timeout_s=S)
        await client.update_peer_urls(own, [place.peer_url("m3")], timeout_s=S)
        await third.prove(b"proof", b"a whole one", timeout_s=S)


async def goes_one_minor_down_by_the_protocol(place: ClusterUnderTest) -> None:
    """Rule 47."""
    async with place.client("m1") as client:
        said = await client.status(timeout_s=S)
        assert (said.storage_version, said.downgrade_to) == ("3.6.0", "")
        with pytest.raises(EtcdRefused, match="invalid downgrade target version"):
            await client.downgrade("validate", "3.4", timeout_s=S)
        assert await client.downgrade("validate", "3.5", timeout_s=S) == "3.6"
        await client.downgrade("enable", "3.5", timeout_s=S)
        with pytest.raises(EtcdRefused, match="downgrade job in progress"):
            await client.downgrade("enable", "3.5", timeout_s=S)
        await wait_for_status(place, client, lambda said: said.storage_version == "3.5.0")
        assert (await client.status(timeout_s=S)).downgrade_to == "3.5.0"
        await client.downgrade("cancel", "", timeout_s=S)
        await wait_for_status(place, client, lambda said: said.storage_version == "3.6.0")
        assert (await client.status(timeout_s=S)).downgrade_to == ""


async def moves_leadership_only_to_voters_from_the_leader(place: ClusterUnderTest) -> None:
    async with place.client("m1") as first, place.client("m2") as second:
        with pytest.raises(EtcdRefused, match="not leader"):
            await second.move_leader(await find_id(first, "m1"), timeout_s=S)
        with pytest.raises(EtcdRefused, match="bad leader transferee"):
            await first.move_leader(1, timeout_s=S)
        await place.stop("m1")
        await wait_for_status(place, second, lambda said: said.leader_id not in (0, own_id(said, "m1")))


PROMISES: tuple[Promise, ...] = (
    adds_one_learner_at_a_time,
    lets_a_learner_join_and_become_a_voter,
    refuses_a_member_with_another_member_list,
    ends_a_removed_member,
    never_continues_as_a_wiped_voter,
    refuses_to_add_while_a_voter_is_dead_and_removes_it,
    refuses_to_add_right_after_a_start,
    changes_nothing_without_a_quorum,
    keeps_a_member_whose_listed_url_is_wrong,
    goes_one_minor_down_by_the_protocol,
    moves_leadership_only_to_voters_from_the_leader,
)


def own_id(said: MemberSeen, name: str) -> int:
    return next(each.member_id for each in said.members if each.name == name)


async def move_leader_to(place: ClusterUnderTest, name: str) -> None:
    """Transfer the leadership, and return when this member is the leader."""
    async with place.client(name) as client:
        own = await find_id(client, name)
        leader_id = (await client.status(timeout_s=S)).leader_id
        if leader_id != own:
            async with place.client(await find_name(client, leader_id)) as leader:
                await leader.move_leader(own, timeout_s=S)
        await wait_for_status(place, client, lambda said: said.leader_id == own)


async def find_id(client: EtcdClient, name: str) -> int:
    return own_id(await client.status(timeout_s=S), name)


async def find_name(client: EtcdClient, member_id: int) -> str:
    return next(each.name for each in await client.members(timeout_s=S) if each.member_id == member_id)


async def list_for_new_member(
    place: ClusterUnderTest, client: EtcdClient, joining: str = ""
) -> dict[str, str]:
    """Return the member list for a new member: the member without a name is the one that joins."""
    return {
        each.name or joining: each.peer_urls[0]
        for each in await retry_while_refused(place, lambda: client.members(timeout_s=S), "leader changed")
    }


async def add_learner(place: ClusterUnderTest, client: EtcdClient, url: str) -> ListedMember:
    return await retry_while_refused(
        place, lambda: client.add_learner([url], timeout_s=S), "unhealthy cluster"
    )


async def retry_while_refused(
    place: ClusterUnderTest, call: Callable[[], Awaitable[Answer]], while_told: str
) -> Answer:
    """Repeat a call while etcd refuses it with this text, and return its result. Other refusals are raised."""
    for _ in range(int(PATIENCE_S / 0.1)):
        try:
            return await call()
        except EtcdRpcError as refused:
            if while_told not in refused.message:
                raise
        await place.wait(0.1)
    raise AssertionError(f"still refused: {while_told}")


async def wait_until_silent(place: ClusterUnderTest, client: EtcdClient) -> None:
    for _ in range(int(PATIENCE_S / 0.02)):
        try:
            await client.status(timeout_s=1)
        except EtcdUnavailable:
            return
        await place.wait(0.02)
    raise AssertionError("it still answers")


async def wait_for_status(
    place: ClusterUnderTest, client: EtcdClient, condition: Callable[[MemberSeen], bool]
) -> MemberSeen:
    """Return the first status for which this is true. Until then the member may not answer."""
    for _ in range(int(PATIENCE_S / 0.1)):
        with suppress(EtcdRpcError):
            if condition(said := await client.status(timeout_s=1)):
                return said
        await place.wait(0.1)
    raise AssertionError("was never seen")
