"""A cluster that exists: everything that separates it from cluster.yaml, in the order in which it is safe.

Quiet preparation first; then members that are in the way go, stopped ones start, moved ones get their address;
then one joins and one leaves in turn; settings and versions are rolled out last, over members that are all well.
"""

from dataclasses import replace

from etcdup.core.certs.issue import certificate_steps, pki_without_due
from etcdup.core.host.drift import binaries_steps, host_steps, preparation_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.members.bootstrap import seal_step
from etcdup.core.members.member_list import member_list
from etcdup.core.members.membership import MembershipChange, membership_change
from etcdup.core.members.quorum import refuse_start
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.members.rolling_restart import restarts_due, rolling_restart_steps
from etcdup.core.members.superseded import refuse_mixed_clusters
from etcdup.core.observed.model import Observed
from etcdup.core.observed.state import is_stopped
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import (
    AddLearner,
    StartMember,
)
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.planner.notes import notes
from etcdup.core.spec.model import Spec
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import (
    cancel_downgrade_steps,
    refuse_start_hop,
    restarts_for_hop,
    version_change_steps,
    version_path,
)

Due = dict[str, tuple[str, ...]]


def plan_reconcile(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """The plan for a cluster that exists, or every reason why there is none."""
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    change = membership_change(spec, observed)
    path = version_path(spec, observed)
    told = notes(spec, observed, change, () if isinstance(path, Refused) else path)
    if reasons := _refuse_reconcile(spec, observed, change, path):
        return Refusal(spec.name, reasons, told)
    assert not isinstance(path, Refused)
    steps = [*issuing, *_steps(spec, observed, token, change, path)]
    steps = with_quorum_effects(with_obtain_steps(steps, observed), observed)
    if reasons := refuse_first_disruptive(steps, spec, observed):
        return Refusal(spec.name, reasons, told)
    return Plan(spec.name, tuple(steps), told, token)


def _refuse_reconcile(
    spec: Spec, observed: Observed, change: MembershipChange, path: tuple[VersionHop, ...] | Refused
) -> tuple[Refused, ...]:
    if split := refuse_mixed_clusters(observed):
        return split
    reasons = list(change.refused)
    reasons += [path] if isinstance(path, Refused) else _refuse_version_change(spec, observed, change, path)
    stopped = _stopped_hosts(spec, observed, change)
    reasons += [reason for name in stopped for reason in refuse_start(name, spec, observed)]
    return tuple(reasons)


def _refuse_version_change(
    spec: Spec, observed: Observed, change: MembershipChange, path: tuple[VersionHop, ...]
) -> tuple[Refused, ...]:
    if not path or not path[0].changes_minor:
        return ()
    reasons = list(refuse_start_hop(spec, path[0], observed))
    if change.removals or change.turns or change.moves:
        reasons.append(
            Refused(
                "cluster.yaml asks for another minor version and for other members at once",
                hint="one after the other: bring `version` back first, `etcdup apply`, and change it then",
                rules=(50,),
            )
        )
    return tuple(reasons)


def _steps(
    spec: Spec, observed: Observed, token: str, change: MembershipChange, path: tuple[VersionHop, ...]
) -> list[Step]:
    minor = bool(path) and path[0].changes_minor
    first = spec.at(path[0].target) if path else spec
    due = restarts_for_hop(first, observed, token) if minor else restarts_due(spec, observed, token)
    # A learner that runs already keeps its settings when it is promoted; one that is yet to be added starts with ours.
    anew = {step.host for step in change.turns if isinstance(step, AddLearner)}
    due = {name: why for name, why in due.items() if name not in anew}
    moved = {step.host: due.pop(step.host) for step in change.moves if step.host in due}
    moved_late = {step.host: due.pop(step.host) for step in change.late_moves if step.host in due}
    unsealed = _unsealed_hosts(spec, observed, change)
    return [
        *_preparation_steps(
            first, observed, token, late={*due, *moved, *moved_late}, with_binaries=not minor
        ),
        *([seal_step(unsealed)] if unsealed else []),
        *change.removals,
        *_start_steps(spec, observed, change),
        *change.moves,
        *rolling_restart_steps(first, observed, token, moved),
        *change.turns,
        *change.late_moves,
        *rolling_restart_steps(first, observed, token, moved_late),
        *(
            version_change_steps(spec, path, observed, token)
            if minor
            else rolling_restart_steps(spec, observed, token, due)
        ),
        *(cancel_downgrade_steps(spec, observed) if not path else []),
    ]


def _preparation_steps(
    spec: Spec, observed: Observed, token: str, *, late: set[str], with_binaries: bool
) -> list[Step]:
    """Host by host. What a `late` host gets besides folders and binaries comes with its restart."""
    steps: list[Step] = []
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is None:
            continue
        if host.name not in late:
            steps += host_steps(spec, host, seen, token, observed)
            continue
        steps += preparation_steps(spec, host, seen, token)
        steps += binaries_steps(spec, host, seen, observed) if with_binaries else []
    return steps


def _unsealed_hosts(spec: Spec, observed: Observed, change: MembershipChange) -> tuple[str, ...]:
    """Voters whose hosts do not say yet that the cluster exists, or still hold a first start's settings.

    Nobody while no member tells who has a vote: a learner may be among them.
    """
    if not member_list(observed):
        return ()
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and host.name not in change.joining
        and seen.has_member
        and (seen.joining or (seen.marker is not None and not seen.marker.formed))
    )


def _stopped_hosts(spec: Spec, observed: Observed, change: MembershipChange) -> list[str]:
    return [
        host.name
        for host in spec.hosts
        if host.name not in change.joining and is_stopped(observed, host.name)
    ]


def _start_steps(spec: Spec, observed: Observed, change: MembershipChange) -> list[Step]:
    reason = "its data is there and etcd does not run"
    return [
        StartMember(host=name, reason=reason, rules=(68,)) for name in _stopped_hosts(spec, observed, change)
    ]
