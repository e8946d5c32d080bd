"""Stopping a whole cluster, starting a restored one, and having it say whose place it took."""

import asyncio
from functools import partial

from etcdup.core.host.actions import start_command, stop_command
from etcdup.core.host.startup_fence import superseded_key, superseded_value
from etcdup.core.members.member_list import host_of
from etcdup.core.observed.model import Observed
from etcdup.core.plan.restore_steps import FenceOff, StartRestored, StopMembers
from etcdup.core.restore.commands import disable_fence_commands, enable_fence_commands
from etcdup.core.spec.layout import layout_of
from etcdup.ops.members.lifecycle import FORM_TIMEOUT_S, HEAD_START_S
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import all_proved, wait_for_condition

PUT_S = 10.0


async def stop_all(performer: Performer, step: StopMembers, observed: Observed) -> None:
    """All at once, and the leader after them: it hands over before it ends, and waits seven seconds for members that
    are going. With nobody left it ends at once. That they are stopped is seen by the plan that is made next."""
    spec = performer.world.spec
    last = {name for name, seen in observed.answering().items() if seen.leader_id == seen.member_id}

    async def stop(name: str) -> None:
        layout = layout_of(spec, host_of(spec, observed, name))
        await performer.perform(performer.world.hosts[name], [stop_command(layout)], step.kind)

    for names in (set(step.hosts) - last, last.intersection(step.hosts)):
        await asyncio.gather(*(stop(name) for name in step.hosts if name in names))


async def start_restored(performer: Performer, step: StartRestored, observed: Observed) -> None:
    """Those that do not run yet, the first a little before the rest (rule 2), until all are proved."""
    world, seen = performer.world, observed.reachable()
    idle = [name for name in step.hosts if not seen[name].unit.is_running]
    for name in idle[:1]:
        await _start_restored_member(performer, name)
        await world.clock.sleep(HEAD_START_S)
    await asyncio.gather(*(_start_restored_member(performer, name) for name in idle[1:]))
    for name in step.hosts:
        performer.reporter.doing(name, "waiting for the restored cluster")
    await wait_for_condition(world, observed, all_proved(world), FORM_TIMEOUT_S, step.hosts)
    await asyncio.gather(*(_end_vouching(performer, name) for name in step.hosts))


async def _start_restored_member(performer: Performer, name: str) -> None:
    layout = layout_of(performer.world.spec, performer.world.spec.host(name))
    work = [("StartRestored", disable_fence_commands(layout)), ("start", [start_command(layout)])]
    await performer.perform_steps(performer.world.hosts[name], work)


async def _end_vouching(performer: Performer, name: str) -> None:
    layout = layout_of(performer.world.spec, performer.world.spec.host(name))
    await performer.perform(performer.world.hosts[name], enable_fence_commands(layout), "StartRestored")


async def fence_off(performer: Performer, step: FenceOff, observed: Observed, token: str) -> None:
    """Each acknowledged write is a word that the cluster keeps. Written again, it says the same."""
    world = performer.world
    said = superseded_value(tuple(host.name for host in world.spec.hosts), token, observed.at)
    client = await world.etcd(step.host)
    for former in step.tokens:
        key = superseded_key(former)
        put = partial(client.put, key, said, timeout_s=PUT_S)
        await performer.send_request(step.kind, step.host, f"put {key.decode()}", put)
