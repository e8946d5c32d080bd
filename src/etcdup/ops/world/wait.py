"""Wait until the outcome of a step is observed, and explain why it is not."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from etcdup.core.etcd.log_messages import explain_log, telling_lines
from etcdup.core.observed.model import HostSeen, MemberSeen, MemberSilent, Observed, UnitSeen
from etcdup.errors import EtcdupError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.health import (
    MemberCheck,
    has_quorum,
    prove,
    prove_voters,
    why_not_as_specified,
    why_without_vote,
)
from etcdup.ops.world.observe import observe, observe_members
from etcdup.ops.world.world import World, read_log_tail

# Hosts are observed less often than members: a probe takes CPU time from an etcd that is starting.
OBSERVE_INTERVAL_S = 2.0
# If two starts failed in a row, the next one fails for the same reason.
RESTARTS_LIMIT = 2
# A certificate that is rejected now is rejected later too. A member that starts gets this time first.
LASTING_S = 5.0

# Return why the awaited state is not reached yet, or an empty text if it is.
Condition = Callable[[Observed], Awaitable[str]]


async def wait_for_condition(
    world: World, before: Observed, condition: Condition, timeout_s: float, names: tuple[str, ...]
) -> None:
    """Wait until `condition` returns no reason. Raises EtcdupError after `timeout_s`.

    The wait ends early if the lock is lost, or if etcd on one of the hosts `names` keeps exiting, or rejects the
    certificate of etcdup.
    """
    observed, why = before, ""
    began = observed_at = world.clock.now()

    async def is_reached() -> bool:
        nonlocal observed, observed_at, why
        if world.lock is not None:  # A proof after a change holds no lock.
            world.lock.check()
        if world.clock.now() >= observed_at + OBSERVE_INTERVAL_S:
            observed, observed_at = await observe(world), world.clock.now()
            await _give_up_on_failures(world, before, observed, names)
        else:
            observed = await observe_members(world, observed)
        why = await condition(observed)
        if why and world.clock.now() >= began + LASTING_S:
            _give_up_on_rejected_certs(observed, names)
        return not why

    if not await wait_until(world.clock, is_reached, timeout_s):
        raise await explain_failure(world, names, f"timeout after {timeout_s:.0f} s: {why}")


def all_proved(world: World) -> Condition:
    """Return a condition: every host of cluster.yaml has a member that votes, and the cluster has no other members.

    An alarm does not end by waiting, so it is reported at the end (`prove_whole`)."""
    names = [host.name for host in world.spec.hosts]

    async def reached(observed: Observed) -> str:
        if waiting := _not_ready(observed, names, partial(why_not_as_specified, world.spec)):
            return waiting
        results = await prove(world, observed)
        return "; ".join(f"{result.name}: {result.why}" for result in results if not result.votes)

    return reached


def one_proved(world: World, name: str) -> Condition:
    """Return a condition: this member is proved to vote, and enough voters are proved for a quorum."""

    async def reached(observed: Observed) -> str:
        if waiting := _not_ready(observed, [name], why_without_vote):
            return waiting
        results = await prove_voters(world, observed)
        own = next(
            ("" if result.votes else result.why for result in results if result.name == name),
            "it is not in the member list",
        )
        return own or ("" if has_quorum(results) else "the cluster has no quorum")

    return reached


def _not_ready(observed: Observed, names: Iterable[str], check: MemberCheck) -> str:
    """Return what the observation alone says against these members. This saves a write that would time out."""
    for name in names:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen):
            return f"{name}: {seen.why}"
        if why := check(observed, seen):
            return f"{name}: {why}"
    return ""


async def _give_up_on_failures(
    world: World, before: Observed, observed: Observed, names: tuple[str, ...]
) -> None:
    for name in names:
        host = observed.hosts[name]
        if not isinstance(host, HostSeen):
            raise EtcdupError(
                f"{name} became unreachable while its member started: {host.why}", hint=host.hint
            )
        old = before.hosts[name]
        if is_failing(old.unit if isinstance(old, HostSeen) else UnitSeen(), host.unit):
            raise await explain_failure(world, (name,), f"etcd on {name} does not stay up")


def is_failing(before: UnitSeen, now: UnitSeen) -> bool:
    """Return whether etcd has ended, or ended again and again, since `before`.

    systemd resets its restart counter when a unit is stopped. It keeps the counter when a unit is started that waits
    for its next restart: those older failures do not belong to this start.
    """
    fresh = now.restarts - before.restarts if now.restarts >= before.restarts else now.restarts
    return now.active in ("failed", "inactive") or fresh >= RESTARTS_LIMIT


def _give_up_on_rejected_certs(observed: Observed, names: tuple[str, ...]) -> None:
    for name in names:
        seen = observed.members[name]
        if isinstance(seen, MemberSilent) and seen.lasting:
            raise EtcdupError(
                f"{name}: etcd runs, but etcdup cannot connect to it: {seen.why}", hint=seen.hint
            )


async def explain_failure(world: World, names: tuple[str, ...], message: str) -> EtcdupError:
    """Return the error, with the last lines of each member's log and their known meaning."""
    parts, hint = [], ""
    for name in names:
        lines = await read_log_tail(world, name)
        known = explain_log(lines)
        shown = [f"{known[0].problem}: {known[1]}"] if known else telling_lines(lines)
        parts += [f"{name}: {line}" for line in shown]
        hint = hint or (known[0].hint if known else "")
    return EtcdupError(message, detail="\n".join(parts), hint=hint or _log_hint(names))


def _log_hint(names: tuple[str, ...]) -> str:
    if not names:
        return "run `etcdup status` to see each member"
    host = names[0] if len(names) == 1 else "each of these hosts"
    return f"run `journalctl -u etcd` on {host} to see the whole log"
