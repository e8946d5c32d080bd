"""Change the member list. The outcome of each request is observed, since a lost answer does not show whether etcd
made the change."""

from collections.abc import Awaitable, Callable

from etcdup.core.host.commands import join_commands, seal_commands
from etcdup.core.members.member_list import entry_of
from etcdup.core.members.quorum import healthy, refuse_restart
from etcdup.core.observed.member import ListedMember, MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import SetAside
from etcdup.core.plan.member_steps import (
    AddLearner,
    DetachMember,
    JoinMember,
    PromoteMember,
    RemoveMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.step import HostStep
from etcdup.core.planner.commands import commands_of
from etcdup.errors import EtcdupError
from etcdup.ops.members.lifecycle import drain, move_leader, start_unit
from etcdup.ops.members.proof import forget_previous
from etcdup.ops.polling import wait_until
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import Condition, all_answer, one_proved, wait_for_condition
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdRpcError, EtcdTimeout

REQUEST_TIMEOUT_S = 10.0
# etcd refuses a change until its members have been connected for five seconds (rule 25).
RETRY_FOR_S = 30.0
LISTED_TIMEOUT_S = 20.0
# A new member answers soon after its first start. It receives the data afterwards.
JOIN_TIMEOUT_S = 120.0
# A learner of a large cluster receives gigabytes before it is in sync.
SYNC_TIMEOUT_S = 1800.0
RETRY_S = 0.3
# Errors of etcd after which the same request may succeed a moment later.
NOT_YET = ("unhealthy cluster", "in sync with leader", "no leader", "leader changed", "too many requests")


async def add_learner(performer: Performer, step: AddLearner, observed: Observed) -> None:
    """Add the member as a learner, and wait until the member list has it."""

    async def added(seen: Observed) -> str:
        there = any(step.peer_url in each.peer_urls for each in seen.member_list)
        return "" if there else f"{step.peer_url} is not in the member list"

    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "adding the learner to the member list",
        lambda: client.add_learner([step.peer_url], timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_for_condition(performer.world, observed, added, LISTED_TIMEOUT_S, ())


async def join(performer: Performer, step: JoinMember, observed: Observed) -> None:
    """Start the new member with exactly the present member list, and wait until it answers."""
    name = step.host
    world = performer.world
    seen = observed.reachable()[name]
    if not seen.unit.is_running:
        if seen.is_unproved:
            # They are of the member that this one replaces, and would be put back below a new member that fails.
            await forget_previous(performer, name)
        if not seen.has_member:
            client = await connect_healthy_member(world, observed, name)
            members = await client.members(timeout_s=REQUEST_TIMEOUT_S)
            actions = join_commands(world.spec, world.spec.host(name), members)
            await performer.perform(world.hosts[name], actions, step.kind)
        await start_unit(performer, name)
    await wait_for_condition(
        world, observed, all_answer([name]), JOIN_TIMEOUT_S, (name,),
        reporter=performer.reporter, doing="waiting until it responds",
    )  # fmt: skip


async def promote(performer: Performer, step: PromoteMember, observed: Observed) -> None:
    """Promote the learner as soon as it is in sync, prove it, and set the marker of its host to `formed`."""
    name = step.host
    world = performer.world
    await wait_for_condition(
        world, observed, _in_sync(name), SYNC_TIMEOUT_S, (name,),
        reporter=performer.reporter, doing="copying the leader's data",
    )  # fmt: skip
    fresh = await observe(world)
    entry = _entry(world, name, fresh)
    if entry is not None and entry.is_learner:
        client = await connect_healthy_member(world, fresh, name)
        await _request(
            performer, step, "promoting the learner",
            lambda: client.promote(entry.member_id, timeout_s=REQUEST_TIMEOUT_S),
        )  # fmt: skip
    await wait_for_condition(
        world, fresh, one_proved(world, name), JOIN_TIMEOUT_S, (name,),
        reporter=performer.reporter, doing="waiting until it is healthy",
    )  # fmt: skip
    marker = fresh.reachable()[name].marker
    assert marker is not None, "a host has a marker before a member joins on it"
    await performer.perform(
        world.hosts[name],
        seal_commands(world.spec, world.spec.host(name), fresh, marker.token),
        step.kind,
    )


async def stop_and_archive(performer: Performer, step: DetachMember | SetAside, observed: Observed) -> None:
    """Stop the member on the host and archive its data."""
    actions = commands_of(step, performer.world.spec, observed, "")
    await performer.perform(performer.world.hosts[step.host], actions, step.kind)


async def remove(performer: Performer, step: RemoveMember, observed: Observed) -> None:
    """Stop the member if the others have a quorum without it, then remove it from the member list."""

    async def gone(seen: Observed) -> str:
        there = any(f"{each.member_id:x}" == step.member_id for each in seen.member_list)
        return f"{step.host} is still in the member list" if there else ""

    seen = observed.members.get(step.host)
    if isinstance(seen, MemberSeen) and f"{seen.member_id:x}" == step.member_id:
        await _stop_serving(performer, step.host, observed)
    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "removing the member from the member list",
        lambda: client.remove(int(step.member_id, 16), timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_for_condition(performer.world, observed, gone, LISTED_TIMEOUT_S, ())


async def _stop_serving(performer: Performer, name: str, observed: Observed) -> None:
    """Stop the member, so that its clients connect to other members before it is removed.

    A removed member stops by itself a moment later (rule 33). Until then, requests of its clients fail, also writes:
    "raft: stopped". If the others have no quorum without it, only leadership is transferred.
    """
    if name in performer.world.hosts and not refuse_restart(name, observed):
        await drain(performer, name, observed)
    else:
        await move_leader(performer, name, observed)


async def update_peer_url(performer: Performer, step: UpdatePeerUrl, observed: Observed) -> None:
    """Change the member's peer URL in the member list. The member listens there after its restart."""

    async def updated(seen: Observed) -> str:
        there = any(step.peer_url in each.peer_urls for each in seen.member_list)
        return "" if there else f"the member list does not have {step.peer_url}"

    client = await connect_healthy_member(performer.world, observed, step.host)
    await _request(
        performer, step, "changing the peer URL",
        lambda: client.update_peer_urls(
            int(step.member_id, 16), [step.peer_url], timeout_s=REQUEST_TIMEOUT_S
        ),
    )  # fmt: skip
    await wait_for_condition(performer.world, observed, updated, LISTED_TIMEOUT_S, ())


async def connect_healthy_member(world: World, observed: Observed, about: str) -> EtcdClient:
    """Return a client of a healthy member other than `about`, if possible of the leader, which has the newest list."""
    candidates = healthy(observed)
    if not candidates:
        raise EtcdupError("no member is healthy", hint="run `etcdup status` to see each member")

    def preference(name: str) -> tuple[bool, bool]:
        return name != about, candidates[name].leader_id == candidates[name].member_id

    return await world.etcd(max(sorted(candidates), key=preference))


async def _request(
    performer: Performer, step: HostStep, doing: str, request: Callable[[], Awaitable[object]]
) -> None:
    """Send the request, and repeat it while etcd answers "not yet".

    A request without an answer is not repeated: the caller observes the outcome.
    """
    refusals: list[EtcdRpcError] = []

    async def is_sent() -> bool:
        try:
            await performer.send_request(step.kind, step.host, doing, request)
        except EtcdTimeout:
            return True
        except EtcdRpcError as error:
            if not any(words in error.message for words in NOT_YET):
                raise
            refusals.append(error)
            return False
        return True

    performer.reporter.doing(step.host, doing)
    try:
        if not await wait_until(performer.world.clock, is_sent, RETRY_FOR_S, RETRY_S):
            raise refusals[-1]
    finally:
        performer.reporter.doing(step.host, "")


def _in_sync(name: str) -> Condition:
    """Return a condition: the learner has applied nearly all entries.

    etcd promotes a learner that has 90 % of the leader's log (rule 29). Older patch versions check less.
    """

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
    return entry_of(world.spec, world.spec.host(name), observed.member_list)
