"""Starting and restarting members, and waiting until what they became is seen."""

import asyncio
from collections.abc import Awaitable, Callable

from etcdup.core.commands import join_commands, seal_commands, start_command, stop_command
from etcdup.core.failures import explain, telling
from etcdup.core.layout import layout_of
from etcdup.core.observed import HostSeen, MemberSeen, MemberSilent, Observed
from etcdup.core.quorum import healthy, quorum_of
from etcdup.core.steps import FormCluster
from etcdup.errors import EtcdupError, RemoteError
from etcdup.ops.health import against, has_quorum, prove
from etcdup.ops.observe import look_again_at_members, observe
from etcdup.ops.perform import Performer
from etcdup.ops.world import World

# A cold start takes 0.3 to 3.6 s (rule 3); the rest is for slow disks and slow networks.
FORM_TIMEOUT_S = 60.0
RESTART_TIMEOUT_S = 120.0
POLL_S = 0.1
# Hosts are looked at less often than members are asked: a look takes CPU from an etcd that is starting.
LOOK_AGAIN_S = 1.0
# The first member alone, then the rest: started in the same instant they wait for each other (rule 2).
HEAD_START_S = 0.12
# Two starts that failed one after the other are not bad luck; the third would fail as well.
RESTARTS_LIMIT = 2
# A certificate that one side does not accept is not accepted later either; a starting member gets this long.
LASTING_S = 5.0


async def form(performer: Performer, step: FormCluster, observed: Observed) -> None:
    """Starts every member that does not run yet and waits until all are proved healthy (rules 1-3, 11)."""
    idle = [name for name in step.hosts if not _runs_for(observed, name, step.token)]
    await asyncio.gather(*(_join(performer, name, step.token) for name in idle))
    if idle:
        await _launch(performer, idle[0])
        if idle[1:] and len(idle) == len(step.hosts):
            await performer.world.clock.sleep(HEAD_START_S)
        await asyncio.gather(*(_launch(performer, name) for name in idle[1:]))
    for name in step.hosts:
        performer.reporter.doing(name, "waiting for the cluster to form")
    await _until(performer.world, observed, _all_proved, FORM_TIMEOUT_S, step.hosts)
    for name in step.hosts:
        performer.reporter.doing(name, "")


async def seal(performer: Performer, hosts: tuple[str, ...], token: str) -> None:
    """Marks every host as formed, all at once."""
    spec = performer.world.spec
    await asyncio.gather(
        *(
            performer.perform(
                performer.world.hosts[name], seal_commands(spec, spec.host(name), token), "SealCluster"
            )
            for name in hosts
        )
    )


async def start(performer: Performer, name: str) -> None:
    """Starts a stopped member. Others may be stopped too, so only its own process is waited for here: the proof
    of health comes when all are started."""
    await _launch(performer, name)


async def restart(performer: Performer, name: str, observed: Observed) -> None:
    """One member: proof of the others, leadership away, stop, start, proof of this one (rules 38-40).

    While no quorum answers there is nothing to protect, and a restart may be what brings it back.
    """
    world = performer.world
    if healthy(observed):
        await _prove_others(world, observed, name)
        await _move_leader(performer, name, observed)
    host = world.hosts[name]
    layout = layout_of(world.spec, world.spec.host(name))
    await performer.perform(host, [stop_command(layout), start_command(layout)], "RestartMember")
    performer.reporter.doing(name, "waiting until it is healthy")
    await _until(world, observed, _one_proved(name), RESTART_TIMEOUT_S, (name,))
    performer.reporter.doing(name, "")


def _runs_for(observed: Observed, name: str, token: str) -> bool:
    host = observed.reachable()[name]
    return host.unit.is_running and host.unit.environment.get("ETCD_INITIAL_CLUSTER_TOKEN") == token


async def _join(performer: Performer, name: str, token: str) -> None:
    spec = performer.world.spec
    host = performer.world.hosts[name]
    await performer.perform(host, join_commands(spec, spec.host(name), token), "FormCluster")


async def _launch(performer: Performer, name: str) -> None:
    spec = performer.world.spec
    host = performer.world.hosts[name]
    await performer.perform(host, [start_command(layout_of(spec, spec.host(name)))], "start")


async def _prove_others(world: World, observed: Observed, name: str) -> None:
    results = [result for result in await prove(world, observed) if result.name != name]
    sick = [f"{result.name}: {result.why}" for result in results if not result.ok]
    if sick and len(results) - len(sick) < quorum_of(world.spec.size):
        raise EtcdupError(
            f"{name} is not restarted: without it the cluster would have no quorum",
            detail="\n".join(sick),
            hint="bring these members back first; `etcdup status` shows each of them",
        )


async def _move_leader(performer: Performer, name: str, observed: Observed) -> None:
    """To the healthy member whose log is furthest. Stopping hands leadership over as well (rule 39), so a failure
    to move it first changes nothing."""
    seen = observed.members[name]
    if not isinstance(seen, MemberSeen) or seen.leader_id != seen.member_id:
        return
    others = [other for other_name, other in healthy(observed).items() if other_name != name]
    if not others:
        return
    performer.reporter.doing(name, "moving leadership away")
    target = max(others, key=lambda other: other.applied_index)
    try:
        client = await performer.world.etcd(name)
        await client.move_leader(target.member_id, timeout_s=10.0)
    except EtcdupError as error:
        performer.journal.record("leadership was not moved", {"host": name, "why": error.message})


Reached = Callable[[World, Observed], Awaitable[str]]


async def _until(
    world: World, before: Observed, reached: Reached, timeout_s: float, names: tuple[str, ...]
) -> None:
    """Polls until `reached` answers with no reason why not. Gives up early on a member that keeps failing."""
    began = looked_at = world.clock.now()
    observed = await look_again_at_members(world, before)
    while why := await reached(world, observed):
        now = world.clock.now()
        if now >= began + timeout_s:
            raise await _explained(world, names, f"not healthy after {timeout_s:.0f} s: {why}")
        if now >= began + LASTING_S:
            _give_up_on_distrust(observed, names)
        await world.clock.sleep(POLL_S)
        if now >= looked_at + LOOK_AGAIN_S:
            observed, looked_at = await observe(world), world.clock.now()
            await _give_up_on_failures(world, observed, names)
        else:
            observed = await look_again_at_members(world, observed)


async def _all_proved(world: World, observed: Observed) -> str:
    if waiting := _not_ready(world, observed, [host.name for host in world.spec.hosts]):
        return waiting
    results = await prove(world, observed)
    return "; ".join(f"{result.name}: {result.why}" for result in results if not result.ok)


def _one_proved(name: str) -> Reached:
    async def reached(world: World, observed: Observed) -> str:
        if waiting := _not_ready(world, observed, [name]):
            return waiting
        results = await prove(world, observed)
        own = next(result for result in results if result.name == name)
        return own.why or ("" if has_quorum(results) else "the cluster has no quorum")

    return reached


def _not_ready(world: World, observed: Observed, names: list[str]) -> str:
    """What the observation alone already says against these members; saves a write that would hang."""
    for name in names:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen):
            return f"{name}: {seen.why}"
        if why := against(world.spec, observed, seen):
            return f"{name}: {why}"
    return ""


async def _give_up_on_failures(world: World, observed: Observed, names: tuple[str, ...]) -> None:
    for name in names:
        host = observed.hosts[name]
        if not isinstance(host, HostSeen):
            raise EtcdupError(f"{name} was lost while waiting for it: {host.why}", hint=host.hint)
        ended = host.unit.active in ("failed", "inactive") or host.unit.restarts >= RESTARTS_LIMIT
        if ended:
            raise await _explained(world, (name,), f"etcd on {name} does not stay up")


def _give_up_on_distrust(observed: Observed, names: tuple[str, ...]) -> None:
    for name in names:
        seen = observed.members[name]
        if isinstance(seen, MemberSilent) and seen.lasting:
            raise EtcdupError(f"{name} runs, but cannot be talked to: {seen.why}", hint=seen.hint)


async def _explained(world: World, names: tuple[str, ...], message: str) -> EtcdupError:
    """The error, with the last words of each member's log and what they mean."""
    parts, hint = [], ""
    for name in names:
        lines = await last_words(world, name)
        meaning = explain(lines)
        words = [meaning.problem] if meaning else telling(lines)
        parts += [f"{name}: {word}" for word in words]
        hint = hint or (meaning.hint if meaning else "")
    detail = "\n".join(parts)
    return EtcdupError(
        message, detail=detail, hint=hint or "`journalctl -u etcd` on the host tells the whole story"
    )


async def last_words(world: World, name: str) -> list[str]:
    """The end of a member's log; empty where it cannot be had."""
    layout = layout_of(world.spec, world.spec.host(name))
    if layout.supervisor == "process":
        argv = ["tail", "-n", "30", layout.log]
    else:
        argv = ["journalctl", "--unit=etcd.service", "--lines=30", "--output=cat", "--no-pager"]
    try:
        return (await world.hosts[name].run(argv)).stdout.splitlines()
    except RemoteError:
        return []
