"""plan(spec, observed) -> Plan or Refusal: the whole decision, in a fixed order.

It must answer for every Observed (tests/core/planner/test_planner.py), and what it answers is checked again by
the same guards on a fresh observation before each step is done (ops/apply/apply.py).
"""

from dataclasses import replace

from etcdup.core.certs.issue import certificate_steps, pki_without_due
from etcdup.core.certs.trust import refuse_ca_swap, refuse_other_ca
from etcdup.core.host.drift import host_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.members.bootstrap import cluster_phase, refuse_form, refuse_prepare, seal_step
from etcdup.core.members.quorum import describe_quorum, healthy
from etcdup.core.members.superseded import (
    clear_superseded_steps,
    refuse_two_clusters,
    superseded_hosts,
    without_superseded,
)
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import FormCluster
from etcdup.core.planner.notes import notes
from etcdup.core.planner.reconcile import plan_reconcile
from etcdup.core.restore.stopped_check import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.versions.advisories import refuse_version


def plan(spec: Spec, observed: Observed, fresh_token: str) -> Plan | Refusal:
    """What makes the hosts what the Spec says. `fresh_token` names a cluster that is formed by this plan."""
    if under_way := refuse_unfinished_restore(spec, observed):
        return Refusal(spec.name, under_way)
    if old := superseded_hosts(spec, observed):
        return _plan_clearing_first(spec, old, observed, fresh_token)
    if split := refuse_two_clusters(spec, observed):
        return Refusal(spec.name, split)
    phase = cluster_phase(spec, observed, fresh_token)
    reasons = _refuse_any_plan(spec, observed)
    reasons += refuse_form(spec, observed) if phase.name != "formed" else ()
    if reasons:
        return Refusal(spec.name, tuple(dict.fromkeys(reasons)))
    if phase.name == "formed":
        return plan_reconcile(spec, observed, phase.token)
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    steps = [
        *issuing,
        *_all_host_steps(spec, observed, phase.token),
        *_form_steps(spec, observed, phase.token),
        seal_step(_names(spec)),
    ]
    return Plan(spec.name, tuple(steps), notes(spec, observed), phase.token)


def _plan_clearing_first(spec: Spec, old: tuple[str, ...], observed: Observed, fresh_token: str) -> Plan:
    """Whatever stands against the rest: hosts of the past are stopped at once."""
    clearing = clear_superseded_steps(old, observed)
    after = plan(spec, without_superseded(old, observed), fresh_token)
    if isinstance(after, Refusal):
        later = tuple(f"once {', '.join(old)} is cleared: {reason.message}" for reason in after.reasons)
        return Plan(spec.name, clearing, (*after.notes, *later), fresh_token)
    return replace(after, steps=(*clearing, *after.steps))


def _refuse_any_plan(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """What stands against any plan: a version that loses data, hosts that trust another CA, foreign data."""
    reasons: list[Refused] = []
    for binaries in observed.binaries:
        reasons += refuse_version(spec.at(binaries.version), vouched=binaries.is_vouched)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += [*refuse_prepare(spec, host, seen), *refuse_other_ca(spec, seen, observed)]
            reasons += refuse_ca_swap(spec, seen, observed.pki)
    return tuple(reasons)


def _all_host_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    steps: list[Step] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            steps += host_steps(spec, host, seen, token, observed)
    return with_obtain_steps(steps, observed)


def _form_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    """Nothing is left to form once every member answers, although no host is marked yet."""
    if len(healthy(observed)) == spec.size:
        return []
    begun = [name for name, seen in observed.reachable().items() if seen.has_member]
    reason = f"an earlier apply started {', '.join(begun)}" if begun else "no host holds data of this cluster"
    quorum = describe_quorum(spec.size, spec.size)
    return [
        FormCluster(hosts=_names(spec), token=token, reason=reason, rules=(1, 2, 3, 4, 11), quorum=quorum)
    ]


def _names(spec: Spec) -> tuple[str, ...]:
    return tuple(host.name for host in spec.hosts)
