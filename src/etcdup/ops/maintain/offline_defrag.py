"""Stop one member, defragment its database, start it, and prove it (rules 38, 39, 79)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from etcdup.core.host.actions import RunCommand
from etcdup.core.host.offline_defrag import offline_defrag_command, try_tool_command
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DefragmentOffline
from etcdup.core.plan.plan import Refusal
from etcdup.core.planner.guards import refuse_step
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.units import show_duration
from etcdup.errors import CommandFailed
from etcdup.ops.maintain.defrag import deadline_of, prepare_defrag, record_size
from etcdup.ops.members.lifecycle import prove_before_stop
from etcdup.ops.members.proof import wait_until_healthy
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.refusal import raise_refusal


async def defragment_offline(performer: Performer, step: DefragmentOffline, observed: Observed) -> None:
    """Defragment the stopped database of a member, between two proofs.

    After a failure of the tool, the member runs again with its previous file, and is healthy, before the error is
    raised.
    """
    world, name = performer.world, step.host
    observed = await prepare_defrag(performer, step, observed)
    if reasons := refuse_step(step, world.spec, observed):
        raise_refusal(Refusal(world.spec.name, reasons))
    await prove_before_stop(world, observed, name)
    began, seen = world.clock.now(), observed.answering()[name]
    layout, host = layout_of(world.spec, world.spec.host(name)), observed.reachable()[name]
    await _try_tool(performer, step, try_tool_command(host, layout))
    try:
        with _reported_if_late(performer, name, deadline_of(seen.db_in_use)):
            await performer.perform(world.hosts[name], [offline_defrag_command(host, layout)], step.kind)
    except CommandFailed as failed:
        failed.hint = failed.hint or f"{name} runs again with its database. Run the same command again"
        await wait_until_healthy(performer, name, observed)
        raise
    await wait_until_healthy(performer, name, observed)
    await record_size(performer, name, observed, world.clock.now() - began)


async def _try_tool(performer: Performer, step: DefragmentOffline, command: RunCommand) -> None:
    """Run the tool once. Raises CommandFailed before the member is stopped."""
    try:
        await performer.perform(performer.world.hosts[step.host], [command], step.kind)
    except CommandFailed as failed:
        failed.hint = (
            f"copy the program of this version to the path above on {step.host}, with owner root and mode 0755. Then "
            "run the same command again"
        )
        raise


@contextmanager
def _reported_if_late(performer: Performer, name: str, deadline_s: float) -> Iterator[None]:
    """Report that the work takes longer than expected. The deadline ends nothing: the other members serve clients."""

    def report() -> None:
        took = show_duration(deadline_s)
        performer.reporter.doing(name, f"still defragmenting after {took}; nothing else is begun")

    late = asyncio.get_running_loop().call_later(deadline_s, report)
    try:
        yield
    finally:
        late.cancel()
