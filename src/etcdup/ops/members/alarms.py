"""Disarm an alarm of etcd, and wait until no member has it."""

from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.members.space import is_out_of_space
from etcdup.core.observed.model import Observed
from etcdup.core.plan.steps import DisarmSpaceAlarm
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import wait_for_condition

REQUEST_TIMEOUT_S = 10.0
DISARMED_TIMEOUT_S = 20.0


async def disarm_space_alarm(performer: Performer, step: DisarmSpaceAlarm, observed: Observed) -> None:
    """Disarm NOSPACE, and wait until every member has applied that. Members apply the request one after the other."""

    async def disarmed(seen: Observed) -> str:
        return "a member still reports NOSPACE" if is_out_of_space(seen) else ""

    client = await connect_healthy_member(performer.world, observed, "")
    await performer.send_request(
        step.kind, "the cluster", "to disarm NOSPACE",
        lambda: client.disarm(NOSPACE, timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_for_condition(performer.world, observed, disarmed, DISARMED_TIMEOUT_S, ())
