"""The plan for a cluster that exists: bring it to the state of cluster.yaml, in a safe order.

First come steps that disturb no member. Then members that block other changes are removed, stopped members start, and
members with a new address get it. Then new members join and old members leave, one at a time. Of two members, none can
restart before that, so their addresses change then. Settings and versions come last, when all members are healthy. The
certificates of members that left are revoked after that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from etcdup.core.certs.issue import certificate_steps, pki_without_due, refuse_untimely
from etcdup.core.certs.revocation import retired_certs, revoke_retired_steps, unreached_notes
from etcdup.core.host.drift import (
    binaries_steps,
    host_steps,
    install_rank,
    leaf_steps,
    preparation_steps,
    with_files_written,
)
from etcdup.core.host.files import pki_files
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.members.bootstrap import seal_step
from etcdup.core.members.endpoints import record_endpoints_steps
from etcdup.core.members.exchanged_data import refuse_exchanged_data
from etcdup.core.members.member_list import entry_of, member_list
from etcdup.core.members.membership import MembershipChange, is_replaced, membership_change
from etcdup.core.members.peer_ports import is_at_previous_address
from etcdup.core.members.quorum import refuse_start
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.members.space import can_disarm_now, disarm_steps, refuse_smaller_quota
from etcdup.core.members.superseded import refuse_mixed_clusters
from etcdup.core.members.unproved import prove_steps
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.certificate_steps import RevokeCertificates
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.member_steps import AddLearner, JoinMember, RestartMember, StartMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import EnableFence
from etcdup.core.plan.step import Step
from etcdup.core.planner.due_restarts import due_restarts, rolling_steps, turns_and_moves
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.planner.notes import notes
from etcdup.core.planner.stopped_members import crossing_hosts, start_steps, stopped_hosts
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.versions.mixed_minors import refuse_version_change
from etcdup.core.versions.observed_after import with_joined_hosts, with_started_hosts
from etcdup.core.versions.upgrade_paths import VersionHop
from etcdup.core.versions.version_steps import (
    cancel_downgrade_steps,
    data_checks,
    version_change_steps,
    version_path,
)


def plan_reconcile(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """Return the plan for a cluster that exists, or every reason against one."""
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    change = membership_change(spec, observed)
    path = version_path(spec, observed)
    stopped = stopped_hosts(spec, observed, token, change, path)
    plan_notes = notes(spec, observed, change, () if isinstance(path, Refused) else path)
    if reasons := _refuse_reconcile(spec, observed, change, path, stopped):
        return Refusal(spec.name, reasons, plan_notes)
    assert not isinstance(path, Refused)
    moving = {step.host for step in (*change.moves, *change.late_moves)} | _at_previous_address(
        spec, observed
    )
    leaves = _leaf_steps(spec, observed, moving)
    after = _with_leaves_written(spec, observed, leaves)
    rest = _steps(spec, after, token, change, path, stopped)
    restarted = {step.host for step in rest if isinstance(step, RestartMember | StartMember)}
    # The restart of a member that moves proves its files. It may still serve the certificate of its previous address.
    replaced = {step.host for step in leaves} | (moving & restarted) | _going_hosts(spec, observed)
    proofs = prove_steps(spec, observed, replaced, restarted)
    steps = _with_revocations(spec, observed, [*issuing, *proofs, *leaves, *rest])
    if any(isinstance(step, RevokeCertificates) for step in steps):
        plan_notes = (*plan_notes, *unreached_notes(spec, observed))
    disarming = disarm_steps(spec, observed)
    steps = [*disarming, *steps] if can_disarm_now(spec, observed) else [*steps, *disarming]
    steps = with_quorum_effects(with_obtain_steps(steps, observed), observed)
    if reasons := refuse_untimely(steps, spec, observed):
        return Refusal(spec.name, reasons, plan_notes)
    if reasons := _refuse_first_disruptive(steps, spec, observed, leaves):
        return Refusal(spec.name, reasons, plan_notes)
    return Plan(spec.name, tuple(steps), plan_notes, token)


def _with_revocations(spec: Spec, observed: Observed, steps: Sequence[Step]) -> list[Step]:
    """Return the steps with those that revoke certificates: before a host gets its new member, and at the end.

    The old member of that host is removed and stopped by then. A new member with the same name must be the only one
    that has a valid certificate.
    """
    found: list[Step] = []
    left = retired_certs(spec, observed)
    for step in steps:
        if isinstance(step, AddLearner):
            running = _running_after(found, observed) - {step.host}
            own = [each for each in left if each.owner == step.host]
            found += revoke_retired_steps(spec, observed, running, own)
            left = tuple(each for each in left if each.owner != step.host)
        found.append(step)
    return [*found, *revoke_retired_steps(spec, observed, _running_after(steps, observed), left)]


def _running_after(steps: Iterable[Step], observed: Observed) -> set[str]:
    """Return the hosts whose members run after these steps."""
    started = {step.host for step in steps if isinstance(step, StartMember | JoinMember)}
    return started | observed.running().keys()


def _leaf_steps(spec: Spec, observed: Observed, moving: set[str]) -> list[InstallFiles]:
    """Return the steps that replace certificates of running members, before any other step.

    A member may answer no client because of its certificates. A member that moves keeps its certificate until its
    restart, because clients use its old address until then.
    """
    hosts = observed.reachable()
    busy = moving | _going_hosts(spec, observed)
    staying = [host for host in spec.hosts if host.name in hosts and host.name not in busy]
    steps = [step for host in staying for step in leaf_steps(spec, host, hosts[host.name], observed.pki)]
    return sorted(steps, key=partial(install_rank, observed))


def _going_hosts(spec: Spec, observed: Observed) -> set[str]:
    """Return the hosts whose member a new one replaces. The old member may be broken, so it proves no files."""
    hosts, members = observed.reachable(), member_list(observed)
    return {
        host.name
        for host in spec.hosts
        if host.name in hosts and is_replaced(hosts[host.name], entry_of(spec, host, members))
    }


def _refuse_first_disruptive(
    steps: Sequence[Step], spec: Spec, observed: Observed, leaves: Sequence[InstallFiles]
) -> tuple[Refused, ...]:
    """Return the reasons against the first disruptive step.

    A running member that does not answer may answer with its new certificates, which come first. So apply decides
    later, when they are installed.
    """
    if any(isinstance(observed.members.get(step.host), MemberSilent) for step in leaves):
        return ()
    return refuse_first_disruptive(steps, spec, observed)


def _with_leaves_written(spec: Spec, observed: Observed, leaves: Sequence[InstallFiles]) -> Observed:
    hosts = dict(observed.hosts)
    for step in leaves:
        host, seen = spec.host(step.host), observed.reachable()[step.host]
        desired = pki_files(host, layout_of(spec, host), observed.pki)
        hosts[step.host] = with_files_written(seen, step.changes, desired)
    return replace(observed, hosts=hosts)


def _refuse_reconcile(
    spec: Spec,
    observed: Observed,
    change: MembershipChange,
    path: tuple[VersionHop, ...] | Refused,
    stopped: Mapping[str, Spec],
) -> tuple[Refused, ...]:
    if split := refuse_mixed_clusters(observed):
        return split
    # The data of a stopped member may be that of another host too, so all start first.
    if not stopped and (exchanged := refuse_exchanged_data(spec, observed)):
        return exchanged
    reasons = list(change.refused)
    reasons += [path] if isinstance(path, Refused) else refuse_version_change(spec, observed, change, path)
    reasons += [reason for name in stopped for reason in refuse_start(name, spec, observed)]
    reasons += refuse_smaller_quota(spec, observed)
    return tuple(reasons)


def _steps(
    spec: Spec,
    observed: Observed,
    token: str,
    change: MembershipChange,
    path: tuple[VersionHop, ...],
    stopped: Mapping[str, Spec],
) -> list[Step]:
    minor = bool(path) and path[0].changes_minor
    first = spec.at(path[0].target) if path else spec
    started = with_started_hosts(stopped, observed, token)
    checks = data_checks(path[0], crossing_hosts(stopped, first), observed) if path else []
    restarts = due_restarts(first if minor else spec, started, token, change, minor=minor)
    unsealed = _unsealed_hosts(spec, observed, change)
    late = restarts.hosts | {step.host for step in checks}
    return [
        *record_endpoints_steps(spec, observed),
        *_preparation_steps(first, observed, token, late=late, with_binaries=not minor),
        *([seal_step(unsealed)] if unsealed else []),
        *change.removals,
        *start_steps(first, observed, token, stopped, checks),
        *turns_and_moves(first, observed, token, change, restarts),
        *(
            _version_steps(spec, started, token, change, path)
            if minor
            else rolling_steps(spec, observed, token, restarts)
        ),
        *(cancel_downgrade_steps(spec, observed) if not path else []),
        *_enable_fence_steps(spec, observed),
    ]


def _version_steps(
    spec: Spec, started: Observed, token: str, change: MembershipChange, path: tuple[VersionHop, ...]
) -> list[Step]:
    joining = [step.host for step in change.turns if isinstance(step, JoinMember)]
    first = spec.at(path[0].target)
    return version_change_steps(spec, path, with_joined_hosts(joining, first, started, token), token)


def _enable_fence_steps(spec: Spec, observed: Observed) -> list[EnableFence]:
    """Return the last steps of a plan: the members that it starts together answer by then."""
    reason = "an interrupted restore or undo disabled it for one start"
    return [
        EnableFence(host=host.name, reason=reason, rules=(65,))
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None and seen.fence_disabled
    ]


def _at_previous_address(spec: Spec, observed: Observed) -> set[str]:
    """Return the hosts whose process has another peer URL than cluster.yaml. Its certificate is for that address."""
    hosts = observed.reachable()
    return {
        host.name
        for host in spec.hosts
        if host.name in hosts and is_at_previous_address(spec, host, hosts[host.name])
    }


def _preparation_steps(
    spec: Spec, observed: Observed, token: str, *, late: set[str], with_binaries: bool
) -> list[Step]:
    """Return the preparation of each host. A `late` host gets only directories and binaries before its restart."""
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
    """Return the voters whose hosts have no `formed` marker, or still have the settings of a first start.

    Return no host while no member reports a member list: a host may be a learner.
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
