"""The plans of `adopt` and of `adopt --release`: one marker for each host, written or removed. No member restarts."""

from collections.abc import Iterator
from dataclasses import replace

from etcdup.core.adopt.equal_data import refuse_alarms
from etcdup.core.adopt.marker import token_of
from etcdup.core.host.clocks import host_clocks, refuse_clocks
from etcdup.core.host.folders import is_open_to_others
from etcdup.core.members.bootstrap import CLOCK_LIMIT_S
from etcdup.core.members.fixed_values import refuse_foreign_marker
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.member_list import entry_of, member_list, name_of, stray_members
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import AdoptHost, ReleaseHost
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec

_AGAIN = "then run the same command again"
# Without a cluster.yaml, `etcdup ctl` cannot grant a role.
_ADD_ACCESS = (
    "write the output of the same command with `--dry-run` to cluster.yaml, and add `access: {user: USER, "
    "password_command: COMMAND}` below `etcd`: a user with the role root, and a command that prints its password. Then "
    "run the same command again"
)
_NO_RELEASE = (
    "run `etcdup status` to see which hosts wait for their take-over: only these hosts can be released"
)


def plan_adoption(spec: Spec, cluster_id: int, observed: Observed) -> Plan | Refusal:
    """Return the markers that are missing, or all reasons against an adoption.

    `cluster_id` is that of the inspection. A marker on a part of the hosts would be a cluster that is half known, so
    every member must be reachable and healthy.
    """
    reasons = tuple(dict.fromkeys(_refuse_adoption(spec, cluster_id, observed)))
    if reasons:
        return Refusal(spec.name, reasons)
    reason = f"it has a member of cluster {cluster_id:x}, which another tool installed"
    steps = (
        AdoptHost(host=host.name, reason=reason, rules=(6, 96))
        for host in spec.hosts
        if observed.reachable()[host.name].marker is None
    )
    return Plan(spec.name, tuple(steps), token=token_of(cluster_id))


def _refuse_adoption(spec: Spec, cluster_id: int, observed: Observed) -> Iterator[Refused]:
    for host in spec.hosts:
        seen = observed.hosts[host.name]
        if isinstance(seen, Unreachable):
            yield Refused(
                f"{host.name} cannot be reached: {seen.why}",
                seen.hint or f"make SSH work, {_AGAIN}",
                host.name,
            )
            continue
        yield from refuse_foreign_marker(spec, host, seen)
        folder = seen.folders.get(layout_of(spec, host).etc)
        if folder is not None and is_open_to_others(folder):
            rights = f"mode {folder.mode:04o} {folder.owner}"
            message = f"{host.name}: users other than root can write {folder.path}: {rights}"
            hint = f"run `chown root:root {folder.path}; chmod go-w {folder.path}` on {host.name}, {_AGAIN}"
            yield Refused(message, hint, host.name, (96,))
    yield from _refuse_members(spec, cluster_id, observed)
    yield from refuse_clocks(host_clocks(spec, observed), CLOCK_LIMIT_S)
    for refused in refuse_without_access(spec, observed):
        yield refused if spec.etcd.access else replace(refused, hint=_ADD_ACCESS)


def _refuse_members(spec: Spec, cluster_id: int, observed: Observed) -> Iterator[Refused]:
    members = member_list(observed)
    for host in spec.hosts:
        seen = observed.members[host.name]
        if isinstance(seen, MemberSilent):
            hint = seen.hint or f"start it with the tool that made it, {_AGAIN}"
            yield Refused(f"{host.name}: its member does not answer: {seen.why}", hint, host.name, (11,))
        elif seen.cluster_id != cluster_id:
            message = f"{host.name}: its member is in cluster {seen.cluster_id:x}, not in {cluster_id:x}"
            yield Refused(message, "name the hosts of one cluster", host.name, (4,))
        elif seen.version != spec.version:
            message = f"{host.name} runs etcd {seen.version}, and cluster.yaml has {spec.version}"
            yield Refused(message, f"finish the upgrade first, {_AGAIN}", host.name)
        elif host.name not in healthy(observed):
            why = "; ".join(seen.errors) or ("it is a learner" if seen.is_learner else "it has no leader")
            yield Refused(
                f"{host.name}: its member is not healthy: {why}", f"repair it, {_AGAIN}", host.name, (11,)
            )
        elif entry_of(spec, host, members) is None:
            yield Refused(f"the member list has no {host.name}", "inspect the cluster again", host.name)
    yield from refuse_alarms([alarm for seen in observed.answering().values() for alarm in seen.alarms])


def plan_release(spec: Spec, observed: Observed) -> Plan | Refusal:
    """Return the markers to remove, or the reasons against a release.

    A host that is not reachable is in `unknown`: its marker stays until the same command is run again.
    """
    reasons = [*refuse_unnamed_members(spec, observed)]
    steps = []
    for name, seen in observed.reachable().items():
        if (marker := seen.marker_of(spec.name)) is None:
            continue
        if marker.adopted != "waiting":
            message = f"{name} is managed by etcdup: its etcd runs with the unit and the files of etcdup"
            hint = f"run `etcdup adopt --give-back {name}` first" if marker.adopted else _NO_RELEASE
            reasons.append(Refused(message, hint, name))
        else:
            steps.append(ReleaseHost(host=name, reason="you requested it; its etcd continues to run"))
    if reasons:
        return Refusal(spec.name, tuple(reasons))
    lost = {host.name: each for host in spec.hosts if (each := observed.unreachable().get(host.name))}
    notes = tuple(f"{name} cannot be reached, so its marker stays: {each.why}" for name, each in lost.items())
    return Plan(spec.name, tuple(steps), notes, unknown=tuple(lost))


def refuse_unnamed_members(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse a release while cluster.yaml does not name the host of a member: its marker would stay for ever.

    Without an answer of a member, the hosts of cluster.yaml count: a release needs no etcd.
    """
    return tuple(
        Refused(
            f"the cluster has a member {name_of(each)}, whose host is not in cluster.yaml: its marker would stay",
            f"write its host back into cluster.yaml, {_AGAIN}. The host does not have to be reachable",
            name_of(each),
            (6,),
        )
        for each in sorted(stray_members(spec, member_list(observed)), key=name_of)
        if name_of(each) not in observed.reachable()
    )
