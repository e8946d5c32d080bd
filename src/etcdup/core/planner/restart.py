"""The plans of `restart`: members restart in turn, or one member stops so that its host can reboot.

No state is stored. `before` is the start of the process of each member when the run observed it first. A process with
another start was restarted since then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from etcdup.core.members.quorum import refuse_restart, voter_count
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.members.rolling_restart import rolling_restart_steps
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.member_steps import DrainMember, StartMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec

Starts = Mapping[str, str]
_ONE_VOTER = "the cluster has one voter: no client is served while it is stopped"


def observe_starts(names: Iterable[str], observed: Observed) -> Starts:
    """Return the start of the process on each of these hosts; empty for a host that cannot be reached."""
    hosts = observed.reachable()
    return {name: _start_of(hosts[name]) if name in hosts else "" for name in names}


def plan_restart(spec: Spec, observed: Observed, token: str, before: Starts) -> Plan | Refusal:
    """Return the restarts that are left, or the reasons against them. Members that are stopped start first."""
    if gone := [name for name in before if name not in observed.reachable()]:
        return Refusal(spec.name, tuple(reason for name in gone for reason in refuse_restart(name, observed)))
    left = plan(spec, observed, token)
    if isinstance(left, Refusal):
        return left
    if not all(isinstance(step, StartMember) for step in left.steps):
        return refuse_pending(spec, left)
    due: dict[str, tuple[str, ...]] = {
        name: ("you requested it",) for name, start in before.items() if _is_due(name, start, observed)
    }
    restarts = rolling_restart_steps(spec, observed, left.token, due)
    steps = with_quorum_effects([*left.steps, *restarts], observed)
    return _checked(spec, replace(left, steps=tuple(steps)), observed)


def plan_drain(spec: Spec, name: str, observed: Observed, token: str) -> Plan | Refusal:
    """Return the step that stops one member, or the reasons against it. The plan is empty if the member is stopped."""
    if is_stopped(observed, name):
        return Plan(spec.name, token=token)
    left = plan(spec, observed, token)
    if isinstance(left, Refusal):
        return left
    if left.steps:
        return refuse_pending(spec, left)
    step = DrainMember(host=name, reason="you requested it, to reboot the host", rules=(38, 39))
    return _checked(spec, replace(left, steps=tuple(with_quorum_effects([step], observed))), observed)


def _start_of(seen: HostSeen) -> str:
    return f"{seen.unit.invocation}/{seen.unit.main_pid}"


def _is_due(name: str, start: str, observed: Observed) -> bool:
    seen = observed.reachable()[name]
    return seen.unit.is_running and _start_of(seen) == start


def _checked(spec: Spec, planned: Plan, observed: Observed) -> Plan | Refusal:
    steps: tuple[Step, ...] = planned.steps
    if reasons := refuse_first_disruptive(steps, spec, observed):
        return Refusal(spec.name, reasons, planned.notes)
    notes = (*planned.notes, _ONE_VOTER) if steps and voter_count(observed) == 1 else planned.notes
    return only_on_ready_hosts(replace(planned, notes=notes), spec, observed)


def refuse_pending(spec: Spec, left: Plan) -> Refusal:
    """Return the refusal while `apply` has other work: a restart would put new settings into use."""
    count = f"{len(left.steps)} step{'' if len(left.steps) == 1 else 's'}"
    reason = Refused(
        f"the cluster differs from cluster.yaml: apply has {count} left to do",
        hint="run `etcdup apply` first: a restart would put new settings into use",
    )
    return Refusal(spec.name, (reason,), left.notes)
