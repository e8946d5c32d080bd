"""Changing the member list: each request is made once and its outcome is looked for, since an answer that was
lost does not say whether the change was made."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from etcdup.core.host.commands import join_commands, seal_commands
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import ListedMember, MemberSeen, Observed
from etcdup.core.plan.step import HostStep
from etcdup.core.plan.steps import (
    AddLearner,
    DetachMember,
    JoinMember,
    PromoteMember,
    RemoveMember,
    SetAside,
    UpdatePeerUrl,
)
from etcdup.core.planner.commands import commands_of
from etcdup.errors import EtcdupError
from etcdup.ops.members.lifecycle import move_leader, start_unit
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import Condition, one_proved, wait_until
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdRpcError, EtcdTimeout

T = TypeVar("T")

REQUEST_TIMEOUT_S = 10.0
# etcd wants its members to have been connected for five seconds before it changes them (rule 25).
RETRY_FOR_S = 30.0
LISTED_TIMEOUT_S = 20.0
# The first start of a member that copies data: it answers at once, and copies afterwards.
JOIN_TIMEOUT_S = 120.0
# A learner of a large cluster copies gigabytes before it is in sync.
SYNC_TIMEOUT_S = 1800.0
RETRY_S = 0.3
# What etcd says when the same request may well succeed a moment later.
NOT_YET = ("unhealthy cluster", "in sync with leader", "no leader", "leader changed", "too many requests")


async def add_learner(performer: Performer, step: AddLearner, observed: Observed) -> None:
    """Adds the member without a vote, and waits until the list has it."""

    async def added(seen: Observed) -> str:
        there = any(step.peer_url in each.peer_urls for each in member_list(seen))
        return "" if there else f"{step.peer_url} is not in the member list"

    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "adding it to the member list",
        lambda: client.add_learner([step.peer_url], timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_until(performer.world, observed, added, LISTED_TIMEOUT_S, ())


async def join(performer: Performer, step: JoinMember, observed: Observed) -> None:
    """Starts the new member with the member list, word for word, and waits until it answers."""
    name = step.host
    world = performer.world
    seen = observed.reachable()[name]
    if not seen.unit.is_running:
        if not seen.has_member:
            client = await connect_healthy_member(world, observed, name)
            members = await client.members(timeout_s=REQUEST_TIMEOUT_S)
            actions = join_commands(world.spec, world.spec.host(name), members)
            await performer.perform(world.hosts[name], actions, step.kind)
        await start_unit(performer, name)
    performer.reporter.doing(name, "waiting until it answers")
    await wait_until(world, observed, _answers(name), JOIN_TIMEOUT_S, (name,))
    performer.reporter.doing(name, "")


async def promote(performer: Performer, step: PromoteMember, observed: Observed) -> None:
    """Gives the learner its vote as soon as it is in sync, proves it, and marks its host."""
    name = step.host
    world = performer.world
    performer.reporter.doing(name, "copying the leader's data")
    await wait_until(world, observed, _in_sync(name), SYNC_TIMEOUT_S, (name,))
    fresh = await observe(world)
    entry = _entry(world, name, fresh)
    if entry is not None and entry.is_learner:
        client = await connect_healthy_member(world, fresh, name)
        await _request(
            performer, step, "promoting it",
            lambda: client.promote(entry.member_id, timeout_s=REQUEST_TIMEOUT_S),
        )  # fmt: skip
    performer.reporter.doing(name, "waiting until it is healthy")
    await wait_until(world, fresh, one_proved(world, name), JOIN_TIMEOUT_S, (name,))
    marker = fresh.reachable()[name].marker
    assert marker is not None, "a host is marked before a member joins on it"
    await performer.perform(
        world.hosts[name],
        seal_commands(world.spec, world.spec.host(name), fresh, marker.token),
        step.kind,
    )


async def stop_and_archive(performer: Performer, step: DetachMember | SetAside, observed: Observed) -> None:
    """The host's commands: stopped, and what it held moved aside."""
    actions = commands_of(step, performer.world.spec, observed, "")
    await performer.perform(performer.world.hosts[step.host], actions, step.kind)


async def remove(performer: Performer, step: RemoveMember, observed: Observed) -> None:
    """Takes the member off the list, its leadership moved away before; its etcd then stops by itself."""

    async def gone(seen: Observed) -> str:
        there = any(f"{each.member_id:x}" == step.member_id for each in member_list(seen))
        return f"{step.host} is still in the member list" if there else ""

    seen = observed.members.get(step.host)
    if isinstance(seen, MemberSeen) and f"{seen.member_id:x}" == step.member_id:
        await move_leader(performer, step.host, observed)
    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "removing it from the member list",
        lambda: client.remove(int(step.member_id, 16), timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_until(performer.world, observed, gone, LISTED_TIMEOUT_S, ())


async def update_peer_url(performer: Performer, step: UpdatePeerUrl, observed: Observed) -> None:
    """Gives the member its new address in the list; it listens there after its restart."""

    async def updated(seen: Observed) -> str:
        there = any(step.peer_url in each.peer_urls for each in member_list(seen))
        return "" if there else f"the member list does not say {step.peer_url}"

    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "changing its peer URL",
        lambda: client.update_peer_urls(
            int(step.member_id, 16), [step.peer_url], timeout_s=REQUEST_TIMEOUT_S
        ),
    )  # fmt: skip
    await wait_until(performer.world, observed, updated, LISTED_TIMEOUT_S, ())


async def connect_healthy_member(world: World, observed: Observed, about: str) -> EtcdClient:
    """A healthy member other than the one spoken about: the leader where it can be, which has the newest list."""
    well = healthy(observed)
    if not well:
        raise EtcdupError("no member is healthy enough to be asked", hint="`etcdup status` shows each member")

    def worth(name: str) -> tuple[bool, bool]:
        return name != about, well[name].leader_id == well[name].member_id

    return await world.etcd(max(sorted(well), key=worth))


async def _request(performer: Performer, step: HostStep, doing: str, ask: Callable[[], Awaitable[T]]) -> None:
    """Asks until etcd obeys. Where no answer came, the caller's look at the outcome decides."""
    clock = performer.world.clock
    end = clock.now() + RETRY_FOR_S
    performer.reporter.doing(step.host, doing)
    while True:
        try:
            await performer.send_request(step.kind, step.host, doing, ask)
            return
        except EtcdTimeout:
            return
        except EtcdRpcError as error:
            if clock.now() >= end or not any(words in error.message for words in NOT_YET):
                raise
        finally:
            performer.reporter.doing(step.host, "")
        await clock.sleep(RETRY_S)


def _answers(name: str) -> Condition:
    async def reached(observed: Observed) -> str:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen):
            return f"{name}: {seen.why}"
        return "" if seen.leader_id else f"{name} has no leader yet"

    return reached


def _in_sync(name: str) -> Condition:
    """Its log has nearly all that the leader's has: etcd asks for nine tenths, and older patches for less (rule 29)."""

    async def reached(observed: Observed) -> str:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen):
            return f"{name}: {seen.why}"
        furthest = max((each.raft_index for each in healthy(observed).values()), default=0)
        if seen.applied_index * 10 >= furthest * 9 and seen.applied_index:
            return ""
        return f"{name} has applied {seen.applied_index} of {furthest} entries"

    return reached


def _entry(world: World, name: str, observed: Observed) -> ListedMember | None:
    return entry_of(world.spec, world.spec.host(name), member_list(observed))
