"""Transfer the leadership to another member, and wait until all members follow it."""

from etcdup.core.maintain.leadership import leader_name
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import MoveLeadership
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import wait_for_condition

REQUEST_S = 10.0
FOLLOWED_S = 30.0


async def move_leadership(performer: Performer, step: MoveLeadership, observed: Observed) -> None:
    await transfer_leadership(performer, step.kind, step.host, observed)


async def transfer_leadership(performer: Performer, kind: str, target: str, observed: Observed) -> None:
    """Transfer the leadership to `target`. Raises EtcdupError unless every healthy member follows it in time."""
    world, leader = performer.world, leader_name(observed)
    wanted = observed.members[target]
    assert isinstance(wanted, MemberSeen), "the guard checked that it is healthy"
    followers = [name for name, seen in observed.answering().items() if seen.leader_id]

    async def followed(seen: Observed) -> str:
        for name in followers:
            member = seen.members[name]
            if not isinstance(member, MemberSeen) or member.leader_id != wanted.member_id:
                return f"{name} does not follow {target} yet"
        return ""

    performer.reporter.doing(leader, f"transferring the leadership to {target}")
    client = await world.etcd(leader)
    await performer.send_request(
        kind, leader, f"to transfer the leadership to {target}",
        lambda: client.move_leader(wanted.member_id, timeout_s=REQUEST_S),
    )  # fmt: skip
    await wait_for_condition(world, observed, followed, FOLLOWED_S, ())
    performer.reporter.doing(leader, "")
