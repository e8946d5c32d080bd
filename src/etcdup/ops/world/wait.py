"""Waiting until what a step was for is seen, and saying why when it is not."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from etcdup.core.etcd.log_messages import explain_log, telling_lines
from etcdup.core.observed.model import HostSeen, MemberSeen, MemberSilent, Observed, UnitSeen
from etcdup.errors import EtcdupError
from etcdup.ops.world.health import (
    MemberCheck,
    has_quorum,
    prove,
    prove_voters,
    why_not_as_specified,
    why_unhealthy,
)
from etcdup.ops.world.member_log import read_log_tail
from etcdup.ops.world.observe import observe, observe_members
from etcdup.ops.world.world import World

POLL_S = 0.05
# Hosts are looked at less often than members are asked: a look takes CPU from an etcd that is starting.
OBSERVE_INTERVAL_S = 2.0
# Two starts that failed one after the other are not bad luck; the third would fail as well.
RESTARTS_LIMIT = 2
# A certificate that one side does not accept is not accepted later either; a starting member gets this long.
LASTING_S = 5.0

# Why what is waited for is not so yet; empty once it is.
Condition = Callable[[Observed], Awaitable[str]]


async def wait_until(
    world: World, before: Observed, reached: Condition, timeout_s: float, names: tuple[str, ...]
) -> None:
    """Polls until `reached` answers with no reason why not. Gives up early on a member that keeps failing."""
    began = looked_at = world.clock.now()
    observed = await observe_members(world, before)
    while why := await reached(observed):
        now = world.clock.now()
        if now >= began + timeout_s:
            raise await explain_failure(world, names, f"not healthy after {timeout_s:.0f} s: {why}")
        if now >= began + LASTING_S:
            _give_up_on_distrust(observed, names)
        await world.clock.sleep(POLL_S)
        if now >= looked_at + OBSERVE_INTERVAL_S:
            observed, looked_at = await observe(world), world.clock.now()
            await _give_up_on_failures(world, before, observed, names)
        else:
            observed = await observe_members(world, observed)


def all_proved(world: World) -> Condition:
    """Every host of cluster.yaml has a healthy member, and the cluster no others."""
    names = [host.name for host in world.spec.hosts]

    async def reached(observed: Observed) -> str:
        if waiting := _not_ready(observed, names, partial(why_not_as_specified, world.spec)):
            return waiting
        results = await prove(world, observed)
        return "; ".join(f"{result.name}: {result.why}" for result in results if not result.ok)

    return reached


def one_proved(world: World, name: str) -> Condition:
    """This member is a healthy voter, among enough others for a quorum."""

    async def reached(observed: Observed) -> str:
        if waiting := _not_ready(observed, [name], why_unhealthy):
            return waiting
        results = await prove_voters(world, observed)
        own = next((result.why for result in results if result.name == name), "it is not in the member list")
        return own or ("" if has_quorum(results) else "the cluster has no quorum")

    return reached


def _not_ready(observed: Observed, names: Iterable[str], judge: MemberCheck) -> str:
    """What the observation alone already says against these members; saves a write that would hang."""
    for name in names:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen):
            return f"{name}: {seen.why}"
        if why := judge(observed, seen):
            return f"{name}: {why}"
    return ""


async def _give_up_on_failures(
    world: World, before: Observed, observed: Observed, names: tuple[str, ...]
) -> None:
    for name in names:
        host = observed.hosts[name]
        if not isinstance(host, HostSeen):
            raise EtcdupError(f"{name} was lost while waiting for it: {host.why}", hint=host.hint)
        old = before.hosts[name]
        if is_failing(old.unit if isinstance(old, HostSeen) else UnitSeen(), host.unit):
            raise await explain_failure(world, (name,), f"etcd on {name} does not stay up")


def is_failing(before: UnitSeen, now: UnitSeen) -> bool:
    """Whether etcd ended, or keeps ending, since `before`. systemd's own count begins anew after a stop, but goes
    on where a unit is started that waits for its next try: its old failures are none of this start."""
    fresh = now.restarts - before.restarts if now.restarts >= before.restarts else now.restarts
    return now.active in ("failed", "inactive") or fresh >= RESTARTS_LIMIT


def _give_up_on_distrust(observed: Observed, names: tuple[str, ...]) -> None:
    for name in names:
        seen = observed.members[name]
        if isinstance(seen, MemberSilent) and seen.lasting:
            raise EtcdupError(f"{name} runs, but cannot be talked to: {seen.why}", hint=seen.hint)


async def explain_failure(world: World, names: tuple[str, ...], message: str) -> EtcdupError:
    """The error, with the last words of each member's log and what they mean."""
    parts, hint = [], ""
    for name in names:
        lines = await read_log_tail(world, name)
        known = explain_log(lines)
        words = [f"{known[0].problem}: {known[1]}"] if known else telling_lines(lines)
        parts += [f"{name}: {word}" for word in words]
        hint = hint or (known[0].hint if known else "")
    detail = "\n".join(parts)
    return EtcdupError(
        message, detail=detail, hint=hint or "`journalctl -u etcd` on the host tells the whole story"
    )
