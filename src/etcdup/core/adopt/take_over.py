"""The plans of `adopt --take-over` and `adopt --give-back`: one member after the other, the leader last.

The version, the binary, the data and the identity of a member stay. Its unit, user, settings and certificates become
those of cluster.yaml. Until the last step, each member can be given back.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta

from etcdup.core.adopt.foreign_pod import refuse_without_consent
from etcdup.core.adopt.foreign_unit import ForeignMember
from etcdup.core.adopt.switch_state import SWITCH_FOLDER
from etcdup.core.certs.ca_rotation import refuse_own_ca_of_waiting
from etcdup.core.certs.issue import certificate_steps
from etcdup.core.maintain.leadership import leader_name
from etcdup.core.members.member_list import entry_of, member_list, peer_url_difference
from etcdup.core.members.quorum import refuse_corrupt_alarm, refuse_restart, unhealthy
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.adopt_steps import FinishTakeOver, GiveBackMember, TakeOverMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.version_steps import TakeSnapshot
from etcdup.core.spec.model import Spec
from etcdup.core.versions.version_steps import snapshot_folder

SNAPSHOT = "take-over"
_FINISH = "all members run with the unit and the files of etcdup; after this step, none can be given back"
FRESH_SNAPSHOT = timedelta(minutes=10)
# A take-over can be done in parts. Its later parts need no new snapshot for this long.
SNAPSHOT_OF_PARTS = timedelta(days=1)
# What the inspection found on each host that waits, or why it cannot be taken over.
Foreign = Mapping[str, ForeignMember | tuple[Refused, ...]]


def plan_take_over(
    spec: Spec,
    observed: Observed,
    names: Collection[str],
    foreign: Foreign,
    *,
    static_pods: bool = False,
    consumers_have_tls: bool = False,
) -> Plan | Refusal:
    """Return the steps that are left for these hosts, or all reasons against them.

    `static_pods`: the operator permits to move the manifests of static pods. `consumers_have_tls`: the operator
    confirms that no client uses http any more.
    """
    token = _token(spec, observed)
    waiting = [name for name in _at_stage(spec, observed, "waiting") if name in names]
    reasons = list(_refuse(spec, observed, waiting, foreign))
    if not static_pods:
        reasons += _refuse_static_pods(waiting, foreign)
    if not consumers_have_tls:
        reasons += _refuse_plain_clients(waiting, foreign)
    if reasons:
        return Refusal(spec.name, tuple(dict.fromkeys(reasons)))
    steps: list[Step] = [*certificate_steps(spec, observed, taken=waiting)] if waiting else []
    if any(not _has_begun(foreign[name]) for name in waiting):
        steps += _snapshot_steps(spec, observed)
    steps += [_take_over_step(spec, name, foreign[name]) for name in _in_order(waiting, observed, foreign)]
    left = [name for name in _at_stage(spec, observed, "waiting") if name not in names]
    if observed.adopted and not left:
        steps.append(FinishTakeOver(hosts=observed.adopted, reason=_FINISH, rules=(38,)))
    return Plan(spec.name, tuple(with_quorum_effects(steps, observed)), _notes(waiting, foreign), token)


def plan_give_back(spec: Spec, observed: Observed, name: str, begun: bool) -> Plan | Refusal:
    """Return the step that gives a member back to its old unit. `begun`: its take-over has begun."""
    token = _token(spec, observed)
    if name in _at_stage(spec, observed, "waiting") and not begun:
        return Plan(spec.name, token=token)
    if (unreachable := observed.unreachable().get(name)) is not None:
        return Refusal(spec.name, (_refuse_unreachable(name, unreachable),))
    if name not in observed.adopted:
        message = f"{name} cannot be given back: its take-over is finished, or it was never adopted"
        return Refusal(spec.name, (Refused(message, "run `etcdup status` to see the hosts that wait", name),))
    if reasons := refuse_switch(name, observed):
        return Refusal(spec.name, reasons)
    step = GiveBackMember(
        host=name, reason="you requested it; its data and its identity stay", rules=(38, 39)
    )
    return Plan(spec.name, tuple(with_quorum_effects([step], observed)), (), token)


def refuse_switch(name: str, observed: Observed) -> tuple[Refused, ...]:
    """Allow the switch of a member while all other voters are healthy, and those that etcdup does not manage too."""
    others = [each for each in unhealthy(observed) if each != name]
    if others:
        message = f"{name} is not stopped while {', '.join(others)} is not healthy"
        hint = (
            "run `etcdup status` to see the fault of each member, repair it, and run the same command again"
        )
        return (Refused(message, hint, name, (34, 38)),)
    if name in observed.answering():
        return refuse_restart(name, observed)
    return refuse_corrupt_alarm(observed)


def _refuse_unreachable(name: str, unreachable: Unreachable) -> Refused:
    hint = unreachable.hint or f"make {name} reachable, then run the same command again"
    return Refused(f"{name} cannot be reached: {unreachable.why}", hint, name, (62,))


def _token(spec: Spec, observed: Observed) -> str:
    hosts = observed.reachable()
    markers = [hosts[host.name].marker_of(spec.name) for host in spec.hosts if host.name in hosts]
    return next((marker.token for marker in markers if marker), "")


def _at_stage(spec: Spec, observed: Observed, stage: str) -> list[str]:
    hosts = observed.reachable()
    found = [host.name for host in spec.hosts if host.name in observed.adopted]
    return [name for name in found if (marker := hosts[name].marker) and marker.adopted == stage]


def _has_begun(found: ForeignMember | tuple[Refused, ...]) -> bool:
    return isinstance(found, ForeignMember) and found.has_begun


def _refuse(spec: Spec, observed: Observed, waiting: Sequence[str], foreign: Foreign) -> Iterator[Refused]:
    for name, unreachable in sorted(observed.unreachable().items()):
        yield _refuse_unreachable(name, unreachable)
    yield from refuse_own_ca_of_waiting(observed)
    yield from _refuse_unadopted(spec, observed)
    for name in observed.adopted:
        if name in observed.leaving:
            message = f"{name} is not in cluster.yaml, and its take-over is not finished"
            yield Refused(
                message, f"write {name} back into cluster.yaml until all hosts are taken over", name
            )
    for name in waiting:
        if name not in foreign:
            message = f"another run changed {name} after its inspection: it waits for its take-over now"
            yield Refused(message, "run the same command again: it inspects the host", name)
        found = foreign.get(name, ())
        yield from found if isinstance(found, tuple) else ()
    begun = [name for name in waiting if _has_begun(foreign.get(name, ()))]
    if ill := [name for name in unhealthy(observed) if name not in begun]:
        message = f"{', '.join(ill)}: not healthy. A take-over begins only while all members are healthy"
        yield Refused(message, "run `etcdup status` to see the fault of each member", ill[0], (34, 38))
    yield from refuse_corrupt_alarm(observed)
    yield from _refuse_other_peer_urls(spec, observed, waiting)
    for name in waiting:
        member = observed.answering().get(name)
        if member is not None and member.version != spec.version:
            message = f"{name} runs etcd {member.version}, and cluster.yaml has {spec.version}"
            yield Refused(message, "write the version that runs: a take-over never changes it", name)


def _refuse_other_peer_urls(spec: Spec, observed: Observed, waiting: Sequence[str]) -> Iterator[Refused]:
    """Refuse another peer URL than that of the member list. The other members would not reach the new process."""
    for name in waiting:
        entry = entry_of(spec, spec.host(name), member_list(observed))
        if entry is not None and spec.peer_url(spec.host(name)) not in entry.peer_urls:
            hint = (
                "write the address and the port of the member list into cluster.yaml: a take-over never changes them. "
                "When all hosts are taken over, change them with `etcdup apply`"
            )
            yield Refused(peer_url_difference(spec, spec.host(name), entry), hint, name, (19, 36))


def _refuse_static_pods(waiting: Sequence[str], foreign: Foreign) -> Iterator[Refused]:
    for name in waiting:
        found = foreign.get(name)
        if isinstance(found, ForeignMember) and found.pod is not None:
            yield refuse_without_consent(name, found.pod)


def _refuse_plain_clients(waiting: Sequence[str], foreign: Foreign) -> Iterator[Refused]:
    for name in waiting:
        found = foreign.get(name)
        if isinstance(found, ForeignMember) and found.plain_urls:
            urls = ", ".join(found.plain_urls)
            message = f"{name}: clients of other hosts can use {urls}, which ends at the take-over"
            hint = (
                "change all clients to https, each with a certificate. Then pass `--consumers-have tls` to "
                "`etcdup adopt --take-over`"
            )
            yield Refused(message, hint, name, (21,))


def _refuse_unadopted(spec: Spec, observed: Observed) -> Iterator[Refused]:
    """Refuse members on hosts without a marker: the last step would require peer certificates that they do not have."""
    members = member_list(observed)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None and seen.marker is None and entry_of(spec, host, members) is not None:
            message = f"{host.name} has a member of this cluster, and is not adopted"
            hint = "run `etcdup adopt` with all hosts first: it writes the markers that are missing"
            yield Refused(message, hint, host.name, (6,))


def _snapshot_steps(spec: Spec, observed: Observed) -> list[Step]:
    """Return a snapshot step, unless a snapshot of a take-over exists that is fresh."""
    lasts = SNAPSHOT_OF_PARTS if _at_stage(spec, observed, "taken") else FRESH_SNAPSHOT
    for each in observed.snapshots:
        if each.cluster == spec.name and each.hop == SNAPSHOT and observed.at - each.taken_at < lasts:
            return []
    folder, reason = snapshot_folder(spec), "the data before the first member restarts with other settings"
    return [TakeSnapshot(hop=SNAPSHOT, folder=folder, reason=reason, rules=(43,))]


def _in_order(waiting: Sequence[str], observed: Observed, foreign: Foreign) -> list[str]:
    """Return the hosts whose switch has begun, then followers, and the leader last."""
    leader = leader_name(observed)
    return sorted(waiting, key=lambda name: (not _has_begun(foreign[name]), name == leader))


def _take_over_step(spec: Spec, name: str, found: ForeignMember | tuple[Refused, ...]) -> TakeOverMember:
    assert isinstance(found, ForeignMember), "a host that cannot be taken over is refused"
    if found.has_begun:
        reason = "its take-over has begun"
    else:
        reason = f"{_starter(found)} runs it as user {found.user}, from {found.exe}"
    return TakeOverMember(host=name, version=str(spec.version), reason=reason, rules=(38, 39, 89))


def _starter(found: ForeignMember) -> str:
    unit, container = f"{found.unit} of another tool", found.container
    if found.pod is not None:
        return f"the kubelet, from {found.pod.manifests[0]},"
    if container is None:
        return unit
    shown = f"container {container.name} of {container.engine}"
    return f"{unit} with {shown}" if found.unit else shown


def _notes(waiting: Sequence[str], foreign: Foreign) -> tuple[str, ...]:
    """Return what the operator has to do on the hosts: etcdup does not change packages of another tool."""
    notes = []
    for name in waiting:
        found = foreign[name]
        if not isinstance(found, ForeignMember):
            continue
        if found.container and not found.container.is_removed:
            engine, container = found.container.engine, found.container.name
            notes.append(
                f"{name}: container {container} stays, stopped. Let no other tool start it, for example compose or a "
                f"playbook. `{engine} rm {container}` deletes it when all hosts are taken over"
            )
        if found.pod:
            manifest, kubelet = found.pod.manifests[0], found.pod.kubelet
            notes.append(
                f"{name}: {manifest} is moved to {SWITCH_FOLDER}/old/static-pod. Let no other tool write it again, for "
                f"example kubeadm or a playbook. The kubelet continues without it. If it runs no other pod, run "
                f"`systemctl disable --now {kubelet}` when all hosts are taken over"
            )
        if found.packages:
            packages = " ".join(found.packages)
            notes.append(
                f"{name}: the package {packages} stays. Its upgrade restarts etcd, and its purge can delete the data: "
                f"hold it, for example with `apt-mark hold {packages}`, and never purge it"
            )
    return tuple(notes)
