"""Explore every history of a model cluster that etcdup changes.

Each plan is carried out. etcdup may be killed, and any one host may crash, at any point of it. Some invariants must
hold in each state. `apply` does the first phase of a new plan each time, so a history is a path through states. Each
state is planned for and continued once, however many histories lead to it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from etcdup.core.host.drift import restart_reasons
from etcdup.core.members.member_list import member_list
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallBinaries, InstallFiles, SwitchBinaries
from etcdup.core.plan.member_steps import RestartMember, StartMember
from etcdup.core.plan.phases import phases
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import Step
from etcdup.core.plan.step_registry import LASTING
from etcdup.core.planner.guards import refuse_step
from etcdup.core.spec.model import Spec
from etcdup.core.versions.version_steps import spec_of_start, version_path
from etcdup.ops.apply.apply import still_done
from tests.support.cluster_model import Cluster, canonical_form, crash, member_id, power_on
from tests.support.observed_model import TOKEN, ObservedModel
from tests.support.simulator import Action, DesiredSpec, StepFailed, actions

# Steps after which a member needs another start.
REPLACING = (InstallBinaries, InstallFiles, SwitchBinaries, RestartMember)

Planner = Callable[[Observed], Plan | Refusal]


class State(NamedTuple):
    """A cluster and its crash. `crashed`: the slot whose host is down after a crash, or -1. `spent`: a host crashed."""

    cluster: Cluster
    crashed: int = -1
    spent: bool = False


@dataclass
class Exploration:
    """All states that are reached from some first states, with one cluster.yaml."""

    observed_model: ObservedModel
    desired: DesiredSpec
    planner: Planner
    alike: tuple[tuple[int, ...], ...] = ()
    crashes: bool = True
    answers: dict[Cluster, tuple[Observed, Plan | Refusal]] = field(default_factory=dict)
    came_from: dict[State, tuple[State, str] | None] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    runs: int = 0
    leads_to: dict[Cluster, Cluster] = field(default_factory=dict)

    def explore(self, first: Cluster) -> None:
        """Explore everything that can happen from this state on."""
        self._reach(State(first), None, "")

    def answer(self, cluster: Cluster) -> tuple[Observed, Plan | Refusal]:
        """Return the observation of a cluster and the planner's answer, computed once for each cluster."""
        if cluster not in self.answers:
            observed = self.observed_model.observed(cluster)
            self.answers[cluster] = observed, self.planner(observed)
        return self.answers[cluster]

    def _reach(self, state: State, before: State | None, how: str) -> None:
        waiting = [(state, before, how)]
        while waiting:
            state, before, how = waiting.pop()
            state = self._canonical(state)
            if state in self.came_from:
                continue
            self.came_from[state] = None if before is None else (before, how)
            waiting += [(after, state, what) for after, what in self._successors(state)]

    def _canonical(self, state: State) -> State:
        """Return one representative of all states that differ only in names."""
        cluster, order = canonical_form(state.cluster, self.alike)
        crashed = order.index(state.crashed) if state.crashed >= 0 else -1
        return State(cluster, crashed, state.spent)

    def _successors(self, state: State) -> Iterator[tuple[State, str]]:
        cluster = state.cluster
        if state.crashed >= 0:
            yield State(power_on(cluster, state.crashed), spent=True), f"{state.crashed} comes back"
        elif self.crashes and not state.spent:
            yield from (
                (State(crash(cluster, n), n, True), f"{n} crashes") for n in range(len(cluster.slots))
            )
        observed, plan = self.answer(cluster)
        if isinstance(plan, Refusal):
            self.ends["refused"] += 1
            self._expect(bool(plan.reasons), state, "a refusal without a reason")
            return
        for problem in early_starts(self.observed_model.target, observed, plan):
            self._expect(False, state, problem)
        if plan.is_empty:
            self.ends["done"] += 1
            self._check_end(state)
            return
        self.runs += 1
        phase = phases([step for step in plan.steps if not isinstance(step, LASTING)])[0]
        if any(refuse_step(step, self.observed_model.target, observed) for step in phase):
            self.ends["guarded"] += 1
            return
        yield from self._phase(state, observed, plan, phase)

    def _phase(
        self, state: State, observed: Observed, plan: Plan, phase: tuple[Step, ...]
    ) -> Iterator[tuple[State, str]]:
        """Yield the states during the phase and after it.

        After each piece etcdup may be killed. If the phase is one disruptive step, a host may crash there too, and the
        rest of the step is tried all the same.
        """
        pieces = [(step.kind, piece) for step in phase for piece in actions(step, observed, self.desired)]
        cluster = state.cluster
        for number, (kind, piece) in enumerate(pieces):
            if self.crashes and not state.spent and phase[0].disruptive:
                yield from self._crashes_here(state, cluster, pieces[number:])
            try:
                after = piece(cluster)
            except StepFailed as why:
                self.ends[f"failed: {kind}: {why}"] += 1
                if cluster != state.cluster:
                    self.leads_to[state.cluster] = self._canonical(State(cluster)).cluster
                return
            self._check_piece(state, cluster, after, kind)
            cluster = after
            yield State(cluster, state.crashed, state.spent), f"{kind} {getattr(phase[0], 'host', '')}"
        self._check_phase(state, cluster, plan, phase)
        self.leads_to[state.cluster] = self._canonical(State(cluster)).cluster

    def _crashes_here(
        self, state: State, cluster: Cluster, pieces: list[tuple[str, Action]]
    ) -> Iterator[tuple[State, str]]:
        for number in range(len(cluster.slots)):
            after = crash(cluster, number)
            yield State(after, number, True), f"{number} crashes"
            for kind, piece in pieces:
                try:
                    after = piece(after)
                except StepFailed:
                    break
                self._check_always(State(after, number, True), state)
                yield State(after, number, True), f"{number} crashed, {kind}"

    def _check_piece(self, state: State, before: Cluster, after: Cluster, kind: str) -> None:
        now = State(after, state.crashed, state.spent)
        self._check_always(now, state)
        alone = kind == "RestartMember" and len(before.voters()) == 1
        lost = before.leader is not None and after.leader is None and not alone
        self._expect(not lost, state, f"{kind} takes the quorum away")
        self._expect(
            after.margin >= min(0, before.margin), state, f"{kind}: too few hold what was acknowledged"
        )

    def _check_always(self, state: State, came: State) -> None:
        down = sum(slot.ours_down for slot in state.cluster.slots)
        self._expect(down <= 1, came, "two members are down by our hand")
        self._expect(not state.cluster.lost, came, "an acknowledged write is lost")

    def _check_phase(self, state: State, after: Cluster, plan: Plan, phase: tuple[Step, ...]) -> None:
        """Check that a new plan after the phase has neither the same step again nor a step that was not shown."""
        before = state.cluster
        if before.leader is None:
            self._expect(
                len(after.live_voters()) >= len(before.live_voters()),
                state,
                f"{phase[0].kind} leaves fewer alive",
            )
        canonical, order = canonical_form(after, self.alike)
        left = self.answer(canonical)[1]
        if isinstance(left, Refusal):
            return
        names = {canonical.slots[n].name: after.slots[old].name for n, old in enumerate(order)}
        names |= {
            f"{member_id(n, canonical.slots[n]):x}": f"{member_id(old, after.slots[old]):x}"
            for n, old in enumerate(order)
        }
        if not member_list(self.answer(before)[0]):
            return  # no member reported a member list, so the plan could not know what the members need
        shown = {step.identity for step in plan.steps}
        done = {step.identity: step for step in phase}
        for step in left.steps:
            if isinstance(step, LASTING):
                continue
            identity = _renamed(step.identity, names)
            self._expect(identity not in done, state, f"{identity} was done and is planned again")
            self._expect(identity in shown, state, f"{identity} was not in the plan")
            done = still_done(done, step)

    def _check_end(self, state: State) -> None:
        """Check that an empty plan means that everything that can be observed matches cluster.yaml."""
        cluster, wanted = state.cluster, self.observed_model.target
        if not member_list(self.answer(cluster)[0]):
            return  # ops/apply then proves every member, and fails there
        for host in wanted.hosts:
            slot = cluster.slot(host.name)
            if slot.is_seen and slot.linked:
                is_well = slot.listed == "voter" and slot.marker == "formed" and slot.process is not None
                self._expect(
                    is_well and not slot.joining and not self._is_behind(cluster, host.name),
                    state,
                    f"nothing is left to do, but {host.name} is {slot}",
                )
        names = {host.name for host in wanted.hosts}
        strays = [
            slot.name for slot in cluster.slots if slot.listed and (slot.name not in names or slot.hidden)
        ]
        self._expect(not strays, state, f"nothing is left to do, but {strays} are members")

    def _is_behind(self, cluster: Cluster, name: str) -> bool:
        observed, wanted = self.answer(cluster)[0], self.observed_model.target
        return bool(
            restart_reasons(wanted, wanted.host(name), observed.reachable()[name], TOKEN, observed.pki)
        )

    def find_loops(self) -> None:
        """Check that plans terminate without a crash: no path of next states visits a state twice."""
        finished: set[Cluster] = set()
        for first in self.leads_to:
            path: dict[Cluster, None] = {}
            at: Cluster | None = first
            while at is not None and at not in finished:
                if at in path:
                    self.violations.append("plans form a loop:\n" + "\n".join(map(cluster_line, path)))
                    break
                path[at] = None
                at = self.leads_to.get(at)
            finished |= path.keys()

    def _expect(self, holds: bool, state: State, what: str) -> None:
        if not holds:
            self.violations.append(f"{what}\n{self.trace(state)}")

    def trace(self, state: State) -> str:
        """Return the history that leads to this state, one line for each state."""
        lines: list[str] = []
        at: State | None = state
        while at is not None:
            step = self.came_from.get(at)
            lines.append(cluster_line(at.cluster) + (f"   <- {step[1]}" if step else "   first"))
            at = step[0] if step else None
        return "\n".join(reversed(lines))


def early_starts(spec: Spec, observed: Observed, plan: Plan) -> Iterator[str]:
    """Yield each start of a member whose files or binary the plan replaces after it. A later hop may replace them."""
    path = version_path(spec, observed)
    started: dict[str, str] = {}
    for step in plan.steps:
        if isinstance(step, StartMember) and isinstance(path, tuple):
            own = spec_of_start(spec, path, observed.reachable()[step.host], observed)
            started[step.host] = str(own.version)
        # etcd reads revocation lists for each handshake.
        if isinstance(step, InstallFiles) and all(change.path.endswith(".der") for change in step.changes):
            continue
        if isinstance(step, REPLACING) and started.get(step.host) == step.version:
            yield f"{step.host} is started before {step.kind}"


def cluster_line(cluster: Cluster) -> str:
    """Return the cluster as one readable line."""
    parts = []
    for number, slot in enumerate(cluster.slots):
        words = [
            f"{number}:{slot.name}", slot.listed or "unlisted", slot.marker or "unmarked",
            f"gen{slot.generation}", f"data{slot.data}@{slot.log}", "LEADS" if cluster.leader == number else "",
            f"runs {slot.process.version}" if slot.process else "stopped",
            "" if slot.reachable else "unreachable", "" if slot.linked else "cut", "" if slot.on else "OFF",
            "" if slot.named else "unnamed", "hidden" if slot.hidden else "", f"cert{slot.certs}",
        ]  # fmt: skip
        parts.append(" ".join(filter(None, words)))
    return f"[{cluster.version} {cluster.downgrade_to} {cluster.snapshots}] " + " | ".join(parts)


def _renamed(identity: tuple[str, ...], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return the identity with other names of hosts and members. Roles of certificates are sorted, as in a step."""
    kind, *parts = ("/".join(names.get(word, word) for word in part.split("/")) for part in identity)
    return (kind, *(sorted(parts) if kind == "RevokeCertificates" else parts))
