"""The figures of a load: a pure function of its records and of the keys that are in the cluster at the end."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

from tests.lab.load_records import Event, EventKind, Record, Request
from tests.lab.restart_history import History, Span
from tests.support.linearizable import Operation, Violation, find_violation

# A client reconnects this long after its member is back: gRPC's longest backoff, and the client's own pause.
GRACE_NS = 1_000_000_000
# Errors of requests that were under way during a leadership transfer, on any member. Reads wait for the old leader,
# and proposals are dropped. A proposal that a follower forwarded is dropped silently, until its timeout (rule 39).
TRANSFER_ERRORS = ("etcdserver: leader changed", "raft proposal dropped", "request timed out", "EtcdTimeout")
MAX_SHOWN = 20


@dataclass(frozen=True)
class Gap:
    """The longest time without an acknowledged write. It began `after_s` after the first record.

    For `stalled_s` of it, this computer gave the clients no CPU, or its disk wrote nothing. That is not the cluster's.
    """

    seconds: float
    after_s: float
    stalled_s: float = 0.0

    @property
    def of_cluster_s(self) -> float:
        return self.seconds - self.stalled_s


@dataclass(frozen=True)
class Report:
    """`lost`: keys of acknowledged appends that are gone. `unexpected`: keys of failed appends that exist.

    `gap` is of all clients together, `gaps` of each member's writer. `stall_s` is the longest time in which the
    clients' process got no CPU, `disk_stall_s` that of one small write. `machines` comes from the machines' journals.
    """

    seconds: float
    acknowledged: int
    operations: int
    registers: int
    lost: tuple[str, ...]
    unexpected: tuple[str, ...]
    violation: Violation | None
    gap: Gap
    gaps: Mapping[str, Gap]
    failures: tuple[Request, ...]
    machines: History
    stall_s: float
    disk_stall_s: float
    began_ns: int

    def __str__(self) -> str:
        """Return one line of figures."""
        gaps = ", ".join(f"{name} {gap.seconds:.3f}" for name, gap in sorted(self.gaps.items()))
        order = "not linearizable" if self.violation else "linearizable"
        return (
            f"load: {self.seconds:.1f} s, {self.acknowledged} writes acknowledged, {len(self.lost)} lost; "
            f"{self.operations} operations on {self.registers} registers {order}; "
            f"longest write gap {self.gap.seconds:.3f} s (by member: {gaps}); "
            f"failed requests: {self._failed()}, {len(self.during_transfer)} of them during a leadership transfer; "
            f"clients without CPU for {self.stall_s:.3f} s; one write to the disk needed {self.disk_stall_s:.3f} s"
        )

    def _failed(self) -> str:
        """Count failures by member. `cut`: sent, perhaps applied. `not sent`: there was no connection."""
        counts = Counter((each.member, each.outcome) for each in self.failures)
        return ", ".join(
            f"{name} {counts[name, 'unknown']} cut + {counts[name, 'failed']} not sent"
            for name in sorted({name for name, _ in counts})
        ) or "none"  # fmt: skip

    @property
    def during_transfer(self) -> tuple[Request, ...]:
        """Failures of requests that were under way during a leadership transfer, which no restart can avoid."""
        return self._during(self.machines.transfers)

    def unexplained(self, restarted: Collection[str]) -> tuple[Request, ...]:
        """Return the failures that the stops and leadership transfers of these members do not explain."""
        downtimes = [down for down in self.machines.downtimes if down.member in restarted]
        transfers = [transfer for transfer in self.machines.transfers if transfer.member in restarted]
        explained = set(self._during(transfers))
        explained |= {each for each in self.failures if any(_is_stopped(each, down) for down in downtimes)}
        return tuple(each for each in self.failures if each not in explained)

    def _during(self, transfers: Sequence[Span]) -> tuple[Request, ...]:
        return tuple(
            each
            for each in self.failures
            if any(text in each.error for text in TRANSFER_ERRORS)
            and any(transfer.overlaps(each.invoked_ns, each.returned_ns) for transfer in transfers)
        )

    def assert_clean(self, *, restarted: Collection[str] = (), gap_s: float = 1.0) -> None:
        """Assert what each planned change must keep: no write is lost, and only clients of a stopped member fail.

        It measures gaps, so a test that calls it is marked `alone`.
        """
        wrong = self.faults(restarted=restarted, gap_s=gap_s)
        assert not wrong, "\n".join([*wrong, str(self)])

    def faults(self, *, restarted: Collection[str] = (), gap_s: float = 1.0) -> list[str]:
        """Return all faults, each with its evidence."""
        found = []
        if self.lost:
            found.append(f"{len(self.lost)} acknowledged writes are lost: {', '.join(self.lost[:MAX_SHOWN])}")
        if self.unexpected:
            found.append(f"failed writes exist: {', '.join(self.unexpected[:MAX_SHOWN])}")
        if self.violation:
            found.append(f"not linearizable: {self.violation}")
        if self.gap.of_cluster_s >= gap_s:
            found.append(
                f"no write was acknowledged for {self.gap.seconds:.3f} s, {self.gap.after_s:.3f} s after the start; "
                f"this computer stood still for {self.gap.stalled_s:.3f} s of it"
            )
            found += self._messages_in_gap()
        if unexplained := self.unexplained(restarted):
            found.append(f"{len(unexplained)} requests failed on members that were not stopped:")
            found += [f"  {self._after(each.invoked_ns):8.3f} s {each}" for each in unexplained[:MAX_SHOWN]]
        return found

    def _messages_in_gap(self) -> list[str]:
        """Return what systemd and etcd wrote in the longest gap, and in the seconds before and after it."""
        begin_ns = self.began_ns + round(self.gap.after_s * 1e9)
        messages = self.machines.telling_messages(
            begin_ns - 10**9, begin_ns + round(self.gap.seconds * 1e9) + 10**9
        )
        return [f"  {self._after(each.at_ns):8.3f} s {each.member}: {each.line}" for each in messages]

    def _after(self, at_ns: int) -> float:
        """Return the time after the first record, in seconds."""
        return (at_ns - self.began_ns) / 1e9


def report_of(records: Iterable[Record], kept: Collection[str], machines: History) -> Report:
    """Return the report. `kept` are the keys of appends that are in the cluster at the end."""
    every = list(records)
    requests = [each for each in every if isinstance(each, Request)]
    events = [each for each in every if isinstance(each, Event)]
    appends = {each.key: each.outcome for each in requests if each.kind == "append"}
    history = [_operation(each) for each in requests if each.kind != "append"]
    began_ns = min(each.at_ns for each in events)
    ended_ns = max(each.at_ns for each in events if each.event == "stopped")
    gaps = _Gaps(requests, events, began_ns, ended_ns)
    return Report(
        seconds=(ended_ns - began_ns) / 1e9,
        acknowledged=sum(_is_acknowledged_write(each) for each in requests),
        operations=len(history),
        registers=len({each.key for each in history}),
        lost=tuple(key for key, outcome in appends.items() if outcome == "ok" and key not in kept),
        unexpected=tuple(key for key, outcome in appends.items() if outcome == "failed" and key in kept),
        violation=find_violation(history),
        gap=gaps.of_all(),
        gaps=gaps.of_each(),
        failures=tuple(each for each in requests if each.outcome != "ok"),
        machines=machines,
        stall_s=gaps.longest_stall_s("stalled"),
        disk_stall_s=gaps.longest_stall_s("disk stalled"),
        began_ns=began_ns,
    )


@dataclass(frozen=True)
class _Gaps:
    requests: Sequence[Request]
    events: Sequence[Event]
    began_ns: int
    ended_ns: int

    def first_ns(self) -> int:
        """Return the time of the first acknowledged write. The time to connect before it is not a gap."""
        return min(self._times(), default=self.began_ns)

    def longest_stall_s(self, kind: EventKind) -> float:
        stalls = (each for each in self.events if each.event == kind and each.at_ns > self.first_ns())
        return max((each.seconds for each in stalls), default=0.0)

    def of_all(self) -> Gap:
        return self._longest([*(sorted(self._times()) or [self.began_ns]), self.ended_ns])

    def _times(self) -> list[int]:
        return [each.returned_ns for each in self.requests if _is_acknowledged_write(each)]

    def of_each(self) -> dict[str, Gap]:
        """Return the longest gap of each member while it was under load. It may be added several times."""
        times: defaultdict[str, list[int]] = defaultdict(list)
        for each in self.requests:
            if _is_acknowledged_write(each):
                times[each.member].append(each.returned_ns)
        return {
            name: max(
                (self._within(times[name], *span) for span in spans), key=lambda gap: gap.seconds
            )
            for name, spans in self._spans().items()
        }  # fmt: skip

    def _spans(self) -> dict[str, list[tuple[int, int]]]:
        spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for each in self.events:
            if each.event == "added":
                spans[each.member].append((each.at_ns, self.ended_ns))
            elif each.event == "removed":
                spans[each.member][-1] = (spans[each.member][-1][0], each.at_ns)
        return dict(spans)

    def _within(self, times: Iterable[int], begin_ns: int, end_ns: int) -> Gap:
        within = sorted(each for each in times if begin_ns <= each <= end_ns)
        return self._longest([*(within or [begin_ns]), end_ns])

    def _longest(self, times: Sequence[int]) -> Gap:
        """Return the gap that is the longest without the stalls of this computer."""
        gaps = (
            Gap((after - before) / 1e9, (before - self.began_ns) / 1e9, self._stalled_s(before, after))
            for before, after in pairwise(times)
        )
        return max(gaps, key=lambda gap: gap.of_cluster_s)

    def _stalled_s(self, begin_ns: int, end_ns: int) -> float:
        """Return for how long this computer stood still in this time. Stalls at the same time count once."""
        stalled_ns, until_ns = 0, begin_ns
        for from_ns, to_ns in self.stalls:
            until_ns, before_ns = max(until_ns, min(to_ns, end_ns)), until_ns
            stalled_ns += max(until_ns - max(from_ns, before_ns), 0)
        return stalled_ns / 1e9

    @cached_property
    def stalls(self) -> list[tuple[int, int]]:
        """The begin and end of each stall, in order."""
        return sorted(
            (each.at_ns - round(each.seconds * 1e9), each.at_ns) for each in self.events if each.seconds
        )


def _is_acknowledged_write(request: Request) -> bool:
    return request.kind != "read" and request.outcome == "ok"


def _is_stopped(request: Request, down: Span) -> bool:
    """Return whether the request was under way while its own member was down."""
    return down.member == request.member and down.overlaps(request.invoked_ns, request.returned_ns, GRACE_NS)


def _operation(request: Request) -> Operation:
    kind: Literal["read", "write"] = "read" if request.kind == "read" else "write"
    return Operation(
        request.key, kind, request.client, request.invoked_ns, request.returned_ns, request.value,
        request.outcome,
    )  # fmt: skip
