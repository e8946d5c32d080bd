"""Defragment one member, and wait until it serves its clients again (rules 73 to 75)."""

from contextlib import suppress
from math import inf

from etcdup.core.maintain.defrag import refuse_defrag
from etcdup.core.maintain.leadership import best_follower, leader_name
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DefragmentMember
from etcdup.core.plan.plan import Refusal
from etcdup.core.plan.step import HostStep
from etcdup.core.spec.units import show_duration
from etcdup.errors import EtcdupError
from etcdup.ops.maintain.leadership import transfer_leadership
from etcdup.ops.members.proof import wait_until_healthy
from etcdup.ops.polling import wait_until
from etcdup.ops.world.activity import observe_activity
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.wait import wait_for_condition
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import EtcdTimeout, EtcdUnavailable

# The longest wait for another program that reads a snapshot of the member.
STREAM_TIMEOUT_S = 600.0
DEADLINE_S, DEADLINE_S_PER_GIB = 60.0, 30.0
READ_S = 5.0
INTERVAL_S = 0.5
# A new leader extends the leases, and clients reconnect.
SETTLE_S = 10.0
_KEY = b"etcdup/health"


async def defragment(performer: Performer, step: DefragmentMember, observed: Observed) -> None:
    """Defragment a member. A leader first transfers the leadership.

    The member continues a defragmentation that it has begun, whatever happens to the request. So etcdup begins nothing
    else before the member has ended it.
    """
    world, name = performer.world, step.host
    observed = await prepare_defrag(performer, step, observed)
    if reasons := refuse_defrag(name, world.spec, observed):
        raise_refusal(Refusal(world.spec.name, reasons))
    began, client = world.clock.now(), await world.etcd(name)
    performer.reporter.doing(name, "defragmenting; its clients wait")
    deadline_s = deadline_of(observed.answering()[name].db_in_use)
    # Without an answer, only the member knows whether it has begun.
    with suppress(EtcdTimeout, EtcdUnavailable):
        await performer.send_request(
            step.kind, name, "to defragment its database", lambda: client.defragment(timeout_s=deadline_s)
        )
    await _wait_until_ended(performer, name, observed, client, began)
    await wait_until_healthy(performer, name, observed)
    await record_size(performer, name, observed, world.clock.now() - began)


async def prepare_defrag(performer: Performer, step: HostStep, observed: Observed) -> Observed:
    """Transfer the leadership from the member, wait until no program reads its snapshot, and observe again."""
    world, name = performer.world, step.host
    if leader_name(observed) == name and (target := best_follower(observed)):
        await transfer_leadership(performer, step.kind, target, observed)
        performer.reporter.doing(name, "waiting until clients have reconnected")
        await world.clock.sleep(SETTLE_S)
    await _wait_for_streams(performer, name, observed)
    return await observe(world)


def deadline_of(in_use: int) -> float:
    """Return after how many seconds a defragmentation of these bytes takes longer than expected."""
    return DEADLINE_S + DEADLINE_S_PER_GIB * in_use / 1024**3


async def _wait_for_streams(performer: Performer, name: str, observed: Observed) -> None:
    """Wait until no program reads a snapshot of the member.

    etcd closes its database at the end of a defragmentation, and for that it waits until all readers have ended. The
    member would be blocked for as long as the slowest of them reads.
    """
    world = performer.world

    async def is_over() -> bool:
        world.held_lock.check()
        activity = (await observe_activity(world, observed)).activity.get(name)
        if activity is None or not activity.snapshots:
            return True
        performer.reporter.doing(name, "waiting until a program has read its snapshot of this member")
        return False

    if not await wait_until(world.clock, is_over, STREAM_TIMEOUT_S, INTERVAL_S):
        raise EtcdupError(
            f"{name} is not defragmented: for {show_duration(STREAM_TIMEOUT_S)}, a program has read a snapshot of it",
            hint="find the program that takes a backup of this member, and run the same command again after it",
        )


async def _wait_until_ended(
    performer: Performer, name: str, observed: Observed, client: EtcdClient, began: float
) -> None:
    """Wait, without a limit, until the member has ended its defragmentation and serves a read."""
    world = performer.world

    async def ended(seen: Observed) -> str:
        activity = (await observe_activity(world, seen)).activity.get(name)
        why = "" if activity and not activity.defragments else f"{name} is still being defragmented"
        if why := why or await _why_not_read(client):
            took = show_duration(world.clock.now() - began)
            performer.reporter.doing(name, f"still defragmenting after {took}; nothing else is begun")
            await world.clock.sleep(INTERVAL_S)
        return why

    await wait_for_condition(world, observed, ended, inf, (name,))


async def _why_not_read(client: EtcdClient) -> str:
    try:
        await client.get(_KEY, timeout_s=READ_S)
    except EtcdupError as error:
        return error.message
    return ""


async def record_size(performer: Performer, name: str, before: Observed, took_s: float) -> None:
    """Record the size of the database before and after, in bytes."""
    old = before.answering()[name].db_size
    new = (await (await performer.world.etcd(name)).status(timeout_s=READ_S)).db_size
    facts = {"host": name, "before": old, "after": new, "took_s": round(took_s, 3)}
    performer.journal.record("defragmented", facts)
    performer.reporter.doing(name, "")
