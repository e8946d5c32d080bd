"""A plan is refused if a host cannot do a step of it: before the first change, and before each phase of apply."""

from collections.abc import Iterable
from dataclasses import replace

from etcdup.core.host.programs import missing_programs, other_missing_programs
from etcdup.core.host.requirements import refuse_start_again, refuse_start_on
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import FormCluster, JoinMember, MoveClients, RestartMember, StartMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import StartRestored
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec


def only_on_ready_hosts(plan: Plan | Refusal, spec: Spec, observed: Observed) -> Plan | Refusal:
    """Return the plan, or a refusal if a host has no program for a step, or if etcd could not start there."""
    if isinstance(plan, Refusal):
        return plan
    if reasons := _refuse_hosts(plan.steps, spec, observed):
        return Refusal(plan.cluster, reasons, plan.notes)
    other = (other_missing_programs(plan.steps, seen) for seen in observed.reachable().values())
    notes = [f"{each.message}: {each.hint.partition(',')[0]}" for absent in other for each in absent]
    # A planner that starts from the plan of another one has these notes already.
    return replace(plan, notes=tuple(dict.fromkeys((*plan.notes, *notes)))) if notes else plan


def _refuse_hosts(steps: Iterable[Step], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    reachable = observed.reachable().values()
    reasons = [reason for seen in reachable for reason in missing_programs(steps, seen)]
    started = {name: step for step in steps for name in _started_hosts(step, observed)}
    for host in spec.hosts:
        if host.name in started and (seen := observed.reachable().get(host.name)) is not None:
            again = isinstance(started[host.name], StartMember | RestartMember)
            reasons += (refuse_start_again if again else refuse_start_on)(spec, host, seen)
    return tuple(dict.fromkeys(reasons))


def _started_hosts(step: Step, observed: Observed) -> tuple[str, ...]:
    """Return the hosts on which this step starts etcd.

    Without a leader, each member that can start is started: the others may be a quorum without the one that cannot.
    """
    match step:
        case FormCluster(hosts=hosts) | StartRestored(hosts=hosts):
            return hosts
        case RestartMember(host=host) | MoveClients(host=host) | JoinMember(host=host):
            return (host,)
        case StartMember(host=host) if any(seen.leader_id for seen in observed.answering().values()):
            return (host,)
        case _:
            return ()
