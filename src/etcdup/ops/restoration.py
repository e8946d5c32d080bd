"""Stopping a whole cluster, and starting a restored one."""

import asyncio

from etcdup.core.actions import stop_command
from etcdup.core.layout import layout_of
from etcdup.core.observed import Observed
from etcdup.core.roster import host_of
from etcdup.core.steps import StartRestored, StopMembers
from etcdup.ops.cluster import FORM_TIMEOUT_S, HEAD_START_S, launch
from etcdup.ops.perform import Performer
from etcdup.ops.waiting import all_proved, until


async def stop_all(performer: Performer, step: StopMembers, observed: Observed) -> None:
    """All at once. That they are stopped is seen by the plan that is made next."""
    spec = performer.world.spec

    async def stop(name: str) -> None:
        layout = layout_of(spec, host_of(spec, observed, name))
        await performer.perform(performer.world.hosts[name], [stop_command(layout)], step.kind)

    await asyncio.gather(*(stop(name) for name in step.hosts))


async def start_restored(performer: Performer, step: StartRestored, observed: Observed) -> None:
    """Those that do not run yet, the first a little before the rest (rule 2), until all are proved."""
    world, seen = performer.world, observed.reachable()
    idle = [name for name in step.hosts if not seen[name].unit.is_running]
    for name in idle[:1]:
        await launch(performer, name)
        await world.clock.sleep(HEAD_START_S)
    await asyncio.gather(*(launch(performer, name) for name in idle[1:]))
    for name in step.hosts:
        performer.reporter.doing(name, "waiting for the restored cluster")
    await until(world, observed, all_proved(world), FORM_TIMEOUT_S, step.hosts)
    for name in step.hosts:
        performer.reporter.doing(name, "")
