"""Disarm an alarm of etcd, and wait until no member has it."""

from etcdup.core.etcd.alarms import NOSPACE
from etcdup.core.members.limits import active_alarms
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DisarmSpaceAlarm
from etcdup.core.plan.step import Step
from etcdup.ops.members.members import connect_healthy_member
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import wait_for_condition

REQUEST_TIMEOUT_S = 10.0
DISARMED_TIMEOUT_S = 20.0


async def disarm_space_alarm(performer: Performer, step: DisarmSpaceAlarm, observed: Observed) -> None:
    """Disarm NOSPACE, and wait until every member has applied that."""
    await disarm_alarm(performer, step, NOSPACE, observed)


async def disarm_alarm(performer: Performer, step: Step, kind: str, observed: Observed) -> None:
    """Disarm the alarms of a kind, and wait until no member reports one. Members apply that one after the other."""

    async def disarmed(seen: Observed) -> str:
        raised = any(each == kind for each, _ in active_alarms(seen))
        return f"a member still reports {kind}" if raised else ""

    client = await connect_healthy_member(performer.world, observed, "")
    await performer.send_request(
        step.kind, "the cluster", f"to disarm {kind}",
        lambda: client.disarm(kind, timeout_s=REQUEST_TIMEOUT_S),
    )  # fmt: skip
    await wait_for_condition(performer.world, observed, disarmed, DISARMED_TIMEOUT_S, ())
