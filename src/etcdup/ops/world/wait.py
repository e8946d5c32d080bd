"""Wait until the outcome of a step is observed, and explain why it is not."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf

from etcdup.core.etcd.log_messages import explain_starts
from etcdup.core.host.outside_settings import drop_in_notes
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.member import MemberSeen, MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.observed.unit import UnitSeen
from etcdup.core.versions.version_steps import version_before
from etcdup.errors import EtcdupError
from etcdup.ops.polling import wait_until
from etcdup.ops.world.cut_members import give_up_on_cut_members, with_blocked_ports
from etcdup.ops.world.health import (
    MemberCheck,
    has_quorum,
    prove,
    prove_voters,
    why_not_as_specified,
    why_without_vote,
)
from etcdup.ops.world.observe import observe
from etcdup.ops.world.observe_host import awaited_units
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.perform import Reporter
from etcdup.ops.world.world import World, read_starts

# The longest wait for one member that starts. It reads its whole data first.
MEMBER_TIMEOUT_S = 120.0
# Hosts are observed less often than members: a probe takes CPU time from an etcd that is starting.
OBSERVE_INTERVAL_S = 2.0
# If two starts failed in a row, the next one fails for the same reason.
RESTARTS_LIMIT = 2
# A certificate that is rejected now is rejected later too, and so is a port that sshd does not forward to. A member
# that starts gets this time first.
LASTING_S = 5.0
# A member that has no connection to the others does not get ready. Then its peer ports are tried, once.
PEERS_S = 10.0
# systemd-networkd-wait-online gives up after 120 s, and systemd then starts the units that wait for the network.
QUEUE_TIMEOUT_S = 180.0

# Return why the awaited state is not reached yet, or an empty text if it is.
Condition = Callable[[Observed], Awaitable[str]]


async def wait_for_condition(
    world: World,
    before: Observed,
    condition: Condition,
    timeout_s: float,
    names: tuple[str, ...],
    *,
    reporter: Reporter | None = None,
    doing: str = "",
    interval_s: float = OBSERVE_INTERVAL_S,
    closed: bool = False,
) -> None:
    """Wait until `condition` returns no reason. Raises EtcdupError after `timeout_s`.

    The wait ends early if the lock is lost, or if etcd on one of the hosts `names` keeps exiting, or if a connection to
    it fails for a reason that stays, or if it has no connection to the members that it needs. The time in which systemd
    does not start etcd yet, because it waits for other units, does not count. `reporter` shows that such a host waits
    for them, and otherwise that it does `doing`. `closed`: the members have temporary certificates, and reject the
    usual certificate of etcdup.
    """
    wait = _Wait(world, before, condition, timeout_s, names, reporter, doing, interval_s, closed)
    wait.report()
    await wait_until(world.clock, wait.is_over)
    wait.report_end()


@dataclass
class _Wait:
    """One wait. `observed` is the last observation. Before `counts_from`, systemd had not begun to start etcd."""

    world: World
    observed: Observed
    condition: Condition
    timeout_s: float
    names: tuple[str, ...]
    reporter: Reporter | None
    doing: str
    interval_s: float
    closed: bool
    first_restarts: dict[str, int] = field(default_factory=dict)
    peers_tried: bool = False

    def __post_init__(self) -> None:
        self.began = self.counts_from = self.observed_at = self.world.clock.now()

    async def is_over(self) -> bool:
        """Return whether the condition is reached. Raises EtcdupError if it cannot be reached, or is late."""
        if self.world.lock is not None:  # A proof after a change holds no lock.
            self.world.lock.check()
        now = self.world.clock.now()
        if now >= self.observed_at + self.interval_s:
            self.observed, self.observed_at = await observe(self.world), now
            await self._check_hosts(now)
        else:
            self.observed = await observe_members(self.world, self.observed)
        why = await self.condition(self.observed)
        if why and not self.closed and now >= self.began + LASTING_S:
            _give_up_on_lasting_fault(self.observed, self.names)
        if why and not self.peers_tried and now >= self.counts_from + PEERS_S and self.timeout_s < inf:
            self.peers_tried = True
            await give_up_on_cut_members(self.world, self.observed, self.names)
        if why and now >= self.counts_from + self.timeout_s:
            late = await self._failure(self.names, f"timeout after {self.timeout_s:.0f} s: {why}")
            raise await with_blocked_ports(self.world, self.observed, self.names, late)
        return not why

    async def _check_hosts(self, now: float) -> None:
        for name in self.names:
            host = self.observed.hosts[name]
            if not isinstance(host, HostSeen):
                raise EtcdupError(
                    f"{name} became unreachable while etcdup waited for its member: {host.why}",
                    hint=host.hint,
                )
            if host.unit.queued:
                self.counts_from = now
                _give_up_on_queued_start(name, host.unit, now - self.began)
            first = self.first_restarts.setdefault(name, host.unit.restarts)
            # The unit of an adopted member can have another name.
            if not host.is_adopted and is_failing(first, host.unit):
                raise await self._failure((name,), f"etcd on {name} does not stay up")
        self.report()

    async def _failure(self, names: tuple[str, ...], message: str) -> EtcdupError:
        return await explain_failure(self.world, self.observed, names, message, self.first_restarts)

    def report(self) -> None:
        """Report what each host does. Until the first observation this is what the step does."""
        for name in self.names:
            host = self.observed.reachable().get(name)
            self._report(name, waiting_text(name, host.unit) if host and host.unit.queued else self.doing)

    def report_end(self) -> None:
        for name in self.names:
            self._report(name, "")

    def _report(self, name: str, doing: str) -> None:
        if self.reporter is not None:
            self.reporter.doing(name, doing)


def all_proved(world: World, only: Collection[str] = ()) -> Condition:
    """Return a condition: every host of cluster.yaml has a member that votes, and the cluster has no other members.

    `only`: the members of these hosts alone must vote.

    An alarm does not end by waiting, so it is reported at the end (`prove_whole`)."""
    names = [host.name for host in world.spec.hosts if not only or host.name in only]

    async def reached(observed: Observed) -> str:
        if waiting := _not_ready(observed, names, partial(why_not_as_specified, world.spec)):
            return waiting
        results = await prove(world, observed)
        without_vote = [result for result in results if result.name in names and not result.votes]
        return "; ".join(f"{result.name}: {result.why}" for result in without_vote)

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


def all_answer(names: Iterable[str]) -> Condition:
    """Return a condition: each of these members answers and has a leader."""

    async def reached(observed: Observed) -> str:
        for name in names:
            seen = observed.members[name]
            if not isinstance(seen, MemberSeen):
                return f"{name}: {seen.why}"
            if not seen.leader_id:
                return f"{name} has no leader yet"
        return ""

    return reached


def waiting_text(name: str, unit: UnitSeen) -> str:
    """Return which units systemd waits for before it starts etcd."""
    return f"waiting for {awaited_units(unit)} on {name}"


def is_failing(first_restarts: int, now: UnitSeen) -> bool:
    """Return whether etcd has ended, or ended again and again, since it had this number of restarts.

    systemd resets its restart counter when a unit is stopped. It keeps the counter when a unit is started that waits
    for its next restart: those older failures do not belong to this start. A start that is in progress may succeed,
    however many failed before it.
    """
    if now.queued:
        return False
    if not now.is_retrying:
        return now.active in ("failed", "inactive")
    return _fresh_restarts(first_restarts, now) >= RESTARTS_LIMIT


def _fresh_restarts(first_restarts: int, now: UnitSeen) -> int:
    """Return how often systemd has restarted the unit since it had this number of restarts."""
    return now.restarts - first_restarts if now.restarts >= first_restarts else now.restarts


def _give_up_on_queued_start(name: str, unit: UnitSeen, waited_s: float) -> None:
    if waited_s >= QUEUE_TIMEOUT_S:
        raise EtcdupError(
            f"etcd is not started yet after {waited_s:.0f} s: still {waiting_text(name, unit)}",
            hint=f"run `systemctl list-jobs --after` on {name} to see what systemd waits for. Then run the same "
            "command again",
        )


def _give_up_on_lasting_fault(observed: Observed, names: tuple[str, ...]) -> None:
    for name in names:
        seen = observed.members[name]
        if isinstance(seen, MemberSilent) and seen.lasting:
            raise EtcdupError(
                f"{name}: etcd runs, but etcdup cannot connect to it: {seen.why}", hint=seen.hint
            )


async def explain_failure(
    world: World,
    observed: Observed,
    names: tuple[str, ...],
    message: str,
    first_restarts: Mapping[str, int] | None = None,
) -> EtcdupError:
    """Return the error, with the reason that each member's log has, and how to go back from a new version.

    `first_restarts` is how often systemd had restarted a unit when this start began. Older starts do not count.
    """
    parts, hint = [], ""
    for name in names:
        host = observed.hosts[name]
        if not isinstance(host, HostSeen):
            continue
        restarts = _fresh_restarts((first_restarts or {}).get(name, 0), host.unit)
        starts = await read_starts(world, name, host.unit, restarts + 1)
        shown, known_hint = explain_starts(starts, name)
        parts += [f"{name}: {line}" for line in shown]
        parts += drop_in_notes(host)
        hint = hint or known_hint
    error = EtcdupError(message, detail="\n".join(parts), hint=hint or _log_hint(names))
    for name in names:
        if old := version_before(name, observed):
            back = f"write `version: {old}` in cluster.yaml, then run `etcdup apply`: it starts {name} with {old} again"
            error.hint, error.resumes = f"{back}\n{error.hint}", False
    return error


def _log_hint(names: tuple[str, ...]) -> str:
    if not names:
        return "run `etcdup status` to see each member"
    host = names[0] if len(names) == 1 else "each of these hosts"
    return f"run `journalctl -u etcd` on {host} to see the whole log"
