"""plan(spec, observed) -> Plan or Refusal: the whole decision, in a fixed order.

It returns an answer for every Observed (tests/core/planner/test_planner.py). Before each step, the same guards check it
again on a new observation (ops/apply/apply.py).
"""

from dataclasses import replace

from etcdup.core.adopt.marker import refuse_changed_settings
from etcdup.core.adopt.verbs import refuse_step_of_waiting
from etcdup.core.certs.ca_rotation import refuse_own_ca_of_waiting, refuse_unsigned
from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.issue import certificate_steps, pki_without_due
from etcdup.core.certs.revocation import retired_certs, revoke_retired_steps
from etcdup.core.certs.trust import refuse_ca_swap, refuse_other_ca
from etcdup.core.host.drift import host_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.members.bootstrap import cluster_phase, refuse_form, refuse_prepare, seal_step
from etcdup.core.members.fixed_values import refuse_moved_data
from etcdup.core.members.limits import refuse_users_without_certificates, refuse_without_access
from etcdup.core.members.quorum import describe_quorum, healthy
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.members.superseded import (
    clear_superseded_steps,
    refuse_two_clusters,
    superseded_hosts,
    without_superseded,
)
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import FormCluster
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.planner.notes import notes, with_causes
from etcdup.core.planner.reconcile import plan_reconcile
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.versions.advisories import refuse_version


def plan(spec: Spec, observed: Observed, fresh_token: str) -> Plan | Refusal:
    """Return the steps that bring the hosts to the state of the Spec, or the reasons against them.

    `fresh_token` is the token of the cluster, if this plan forms one.
    """
    answer = only_on_ready_hosts(_plan(spec, observed, fresh_token), spec, observed)
    return with_causes(_refuse_waiting(answer, spec, observed), spec, observed)


def _refuse_waiting(answer: Plan | Refusal, spec: Spec, observed: Observed) -> Plan | Refusal:
    """Refuse a plan that changes hosts which wait for their take-over. Such a plan is refused whole."""
    steps = () if isinstance(answer, Refusal) else answer.steps
    reasons = refuse_changed_settings(spec, observed) or tuple(
        dict.fromkeys(reason for step in steps for reason in refuse_step_of_waiting(step, observed))
    )
    return Refusal(spec.name, reasons, answer.notes) if reasons else answer


def _plan(spec: Spec, observed: Observed, fresh_token: str) -> Plan | Refusal:
    if unfinished := refuse_unfinished_restore(spec, observed):
        return Refusal(spec.name, unfinished)
    if stale := refuse_stale_pki(spec, observed):
        return Refusal(spec.name, _refuse_other_ca(spec, observed) or stale)
    if old := superseded_hosts(spec, observed):
        return _plan_clearing_first(spec, old, observed, fresh_token)
    if split := refuse_two_clusters(spec, observed):
        return Refusal(spec.name, split)
    phase = cluster_phase(spec, observed, fresh_token)
    if denied := refuse_without_access(spec, observed) or refuse_users_without_certificates(spec, observed):
        return Refusal(spec.name, denied)
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
        *revoke_retired_steps(spec, observed, _names(spec), retired_certs(spec, observed)),
    ]
    return Plan(spec.name, tuple(steps), notes(spec, observed), phase.token)


def _plan_clearing_first(spec: Spec, old: tuple[str, ...], observed: Observed, fresh_token: str) -> Plan:
    """Return a plan that first stops the hosts of a superseded cluster.

    It does so even if the rest of the plan is refused: the reasons against the rest become notes.
    """
    clearing = clear_superseded_steps(old, observed)
    after = _plan(spec, without_superseded(old, observed), fresh_token)
    if isinstance(after, Refusal):
        later = tuple(f"after {', '.join(old)} is cleared: {reason.message}" for reason in after.reasons)
        return Plan(spec.name, clearing, (*after.notes, *later), fresh_token)
    return replace(after, steps=(*clearing, *after.steps))


def _refuse_any_plan(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse any plan for a version that loses data, hosts that trust another CA, or data that is not ours."""
    reasons = [*refuse_own_ca_of_waiting(observed), *refuse_unsigned(spec, observed)]
    for binaries in observed.binaries:
        reasons += refuse_version(spec.at(binaries.version), vouched=binaries.is_vouched)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += [*refuse_prepare(spec, host, seen), *refuse_moved_data(spec, host, seen)]
            reasons += refuse_other_ca(spec, seen, observed)
            reasons += refuse_ca_swap(spec, seen, observed.pki)
    return tuple(reasons)


def _refuse_other_ca(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse the PKI of another cluster. It does not have the changes of the hosts either, so this is the cause."""
    reached = observed.reachable().values()
    names = {host.name for host in spec.hosts}
    return tuple(
        each for seen in reached if seen.host in names for each in refuse_other_ca(spec, seen, observed)
    )


def _all_host_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    steps: list[Step] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            steps += host_steps(spec, host, seen, token, observed)
    return with_obtain_steps(steps, observed)


def _form_steps(spec: Spec, observed: Observed, token: str) -> list[Step]:
    """Return the step that forms the cluster. If every member is healthy, only the markers are left to write."""
    well = len(healthy(observed))
    if well == spec.size:
        return []
    started = [name for name, seen in observed.reachable().items() if seen.has_member]
    reason = (
        f"an earlier apply started {', '.join(started)}; {well} of {spec.size} members are healthy"
        if started
        else "no host has data of this cluster"
    )
    quorum = describe_quorum(spec.size, spec.size)
    return [
        FormCluster(hosts=_names(spec), token=token, reason=reason, rules=(1, 2, 3, 4, 11), quorum=quorum)
    ]


def _names(spec: Spec) -> tuple[str, ...]:
    return tuple(host.name for host in spec.hosts)
