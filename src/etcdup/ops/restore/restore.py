"""Stop a whole cluster, start a restored one, and record in it which clusters it superseded."""

import asyncio
from collections.abc import Collection
from functools import partial

from etcdup.core.host.actions import start_command, stop_command
from etcdup.core.host.startup_fence import superseded_key, superseded_value
from etcdup.core.members.member_list import host_of
from etcdup.core.observed.model import Observed
from etcdup.core.plan.restore_steps import FenceOff, StartRestored, StopMembers
from etcdup.core.restore.fence_commands import disable_fence_commands, enable_fence_commands
from etcdup.core.spec.layout import layout_of
from etcdup.ops.members.lifecycle import FORM_TIMEOUT_S, HEAD_START_S
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.superseded_record import record_superseded
from etcdup.ops.world.wait import all_proved, wait_for_condition

PUT_S = 10.0


async def stop_all(performer: Performer, step: StopMembers, observed: Observed) -> None:
    """Stop all members at once, and the leader after them.

    A leader transfers leadership before it ends, and waits up to seven seconds for members that are stopping. With no
    member left, it ends at once. The next plan's observation shows whether all of them are stopped.
    """
    last = {name for name, seen in observed.answering().items() if seen.leader_id == seen.member_id}
    for names in (set(step.hosts) - last, last.intersection(step.hosts)):
        await stop_members(performer, names, observed, step.kind)


async def stop_members(performer: Performer, names: Collection[str], observed: Observed, step: str) -> None:
    """Stop these members at the same time."""
    spec = performer.world.spec
    layouts = {name: layout_of(spec, host_of(spec, observed, name)) for name in sorted(names)}
    await performer.perform_on_each({name: [stop_command(each)] for name, each in layouts.items()}, step)


async def start_restored(performer: Performer, step: StartRestored, observed: Observed, token: str) -> None:
    """Start the restored members and wait until all are proved healthy. The first starts a little earlier (rule 2)."""
    world, seen = performer.world, observed.reachable()
    idle = [name for name in step.hosts if not seen[name].unit.is_running]
    for name in idle[:1]:
        await _start_restored_member(performer, name)
        await world.clock.sleep(HEAD_START_S)
    await asyncio.gather(*(_start_restored_member(performer, name) for name in idle[1:]))
    await wait_for_condition(
        world, observed, all_proved(world, step.hosts), FORM_TIMEOUT_S, step.hosts,
        reporter=performer.reporter, doing="waiting until the restored cluster is healthy",
    )  # fmt: skip
    layouts = {name: layout_of(world.spec, world.spec.host(name)) for name in step.hosts}
    commands = {name: enable_fence_commands(each) for name, each in layouts.items()}
    await performer.perform_on_each(commands, step.kind)
    record_superseded(world.superseded_file, (), token)


async def _start_restored_member(performer: Performer, name: str) -> None:
    layout = layout_of(performer.world.spec, performer.world.spec.host(name))
    work = [("StartRestored", disable_fence_commands(layout)), ("start", [start_command(layout)])]
    await performer.perform_steps(performer.world.hosts[name], work)


async def fence_off(performer: Performer, step: FenceOff, observed: Observed, token: str) -> None:
    """Write one key for each former token, so that old members with that token stay stopped. Safe to repeat."""
    world = performer.world
    record_superseded(world.superseded_file, step.tokens, token)
    value = superseded_value(tuple(host.name for host in world.spec.hosts), token, observed.at)
    client = await world.etcd(step.host)
    for former in step.tokens:
        key = superseded_key(former)
        put = partial(client.put, key, value, timeout_s=PUT_S)
        await performer.send_request(step.kind, step.host, f"put {key.decode()}", put)
