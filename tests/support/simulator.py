"""Do the steps of a plan on a model cluster.

The pieces are the same as in ops/apply/execution.py, ops/members/members.py and ops/members/lifecycle.py. Between two
pieces a host may crash, or etcdup may be killed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from etcdup.core.members.member_list import voter_names
from etcdup.core.members.quorum import healthy, quorum_of
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.certificate_steps import IssueCertificates, RevokeCertificates
from etcdup.core.plan.host_steps import (
    EnableUnit,
    InstallBinaries,
    InstallFiles,
    ObtainBinaries,
    PrepareHost,
    SetAside,
    SwitchBinaries,
)
from etcdup.core.plan.member_steps import (
    AddLearner,
    DetachMember,
    FormCluster,
    JoinMember,
    MarkReplacement,
    PromoteMember,
    RemoveMember,
    RestartMember,
    SealCluster,
    StartMember,
    UpdatePeerUrl,
)
from etcdup.core.plan.step import Step
from etcdup.core.plan.version_steps import (
    CancelDowngrade,
    CheckV2Store,
    EnableDowngrade,
    EnsureRaftSnapshot,
    TakeSnapshot,
)
from tests.support.cluster_model import (
    ABSENT,
    NEVER,
    REVOKED,
    Cluster,
    Conf,
    connected,
    converge,
    member_id,
    serves,
    start,
    stop,
)

Action = Callable[[Cluster], Cluster]


class StepFailed(Exception):
    """The reason why an apply ends early: a lost host, a timeout, or a request that etcd rejects."""


class DesiredSpec(NamedTuple):
    """The label of the desired cluster.yaml in Conf, and its peer URLs in the form of Slot.url."""

    label: str
    urls: Mapping[str, str]


def actions(step: Step, observed: Observed, desired: DesiredSpec) -> Iterator[Action]:
    """Yield the pieces of a step, chosen by `observed` as the operations do."""
    match step:
        case IssueCertificates(roles=roles):
            yield lambda cluster: _with_certs(cluster, {role.partition("/")[2] for role in roles}, 1)
        case RevokeCertificates(roles=roles):
            yield lambda cluster: _with_certs(cluster, {role.partition("/")[2] for role in roles}, REVOKED)
        case ObtainBinaries() | CheckV2Store() | EnsureRaftSnapshot():
            return
        case FormCluster():
            yield _formed
        case SealCluster(hosts=hosts):
            for name in hosts:
                yield _on(name, marker="formed", joining=False)
        case TakeSnapshot(hop=hop):
            yield lambda cluster: replace(
                _with_quorum(cluster), snapshots=tuple(sorted({*cluster.snapshots, hop}))
            )
        case EnableDowngrade(target=target):
            to = (int(target.split(".")[0]), int(target.split(".")[1]))
            yield lambda cluster: converge(replace(_with_quorum(cluster), downgrade_to=to))
        case CancelDowngrade():
            yield lambda cluster: converge(replace(_with_quorum(cluster), downgrade_to=None))
        case StartMember(host=name):
            yield lambda cluster: start(_require_host(cluster, name), cluster.number(name))
            if healthy(observed):
                yield _proved(name, observed)
        case RestartMember(host=name):
            yield from _restart(name, observed)
        case _:
            yield from _quiet(step, desired.label)
            yield from _change(step, observed, desired)


def _quiet(step: Step, label: str) -> Iterator[Action]:
    match step:
        case PrepareHost(host=name):
            yield lambda cluster: cluster.with_slot(
                _number(cluster, name), marker=cluster.slot(name).marker or "unformed"
            )
        case InstallBinaries(host=name, version=version):
            yield lambda cluster: cluster.with_slot(
                _number(cluster, name), versions=tuple(sorted({*cluster.slot(name).versions, version}))
            )
        case InstallFiles(host=name, proof="handshake"):
            yield lambda cluster: converge(
                cluster.with_slot(_number(cluster, name), certs=cluster.pki[cluster.number(name)])
            )
        case InstallFiles(host=name, version=version):
            yield lambda cluster: converge(
                cluster.with_slot(
                    _number(cluster, name), conf=Conf(label, version), certs=cluster.pki[cluster.number(name)]
                )
            )
        case SwitchBinaries(host=name, version=version):
            yield _on(name, current=version)
        case EnableUnit(host=name):
            yield _on(name, enabled=True)
        case MarkReplacement(host=name, new_certs=new_certs):
            if new_certs:
                yield lambda cluster: _with_certs(cluster, {name}, ABSENT)
            yield _on(name, marker="replacing")


def _change(step: Step, observed: Observed, desired: DesiredSpec) -> Iterator[Action]:
    match step:
        case AddLearner(host=name):
            yield lambda cluster: _added(_with_quorum(cluster), name, desired)
        case JoinMember(host=name):
            yield from _join(name, observed)
        case PromoteMember(host=name):
            yield lambda cluster: _promoted(cluster, name)
            yield _proved(name, observed)
            yield _on(name, marker="formed", joining=False)
        case DetachMember(host=name):
            yield from _retire(name)
        case SetAside(host=name):
            yield lambda cluster: stop(_require_host(cluster, name), cluster.number(name))
            yield _on(name, joining=False, data=None, log=NEVER)
        case RemoveMember(host=name, member_id=ident):
            seen = observed.members.get(name)
            if isinstance(seen, MemberSeen) and f"{seen.member_id:x}" == ident:
                yield _leader_moved(name, observed)
            yield lambda cluster: _removed(_with_quorum(cluster), int(ident, 16))
        case UpdatePeerUrl(host=name, member_id=ident):
            yield lambda cluster: converge(
                _with_quorum(cluster).with_slot(_entry(cluster, int(ident, 16)), url=desired.urls[name])
            )


def _restart(name: str, observed: Observed) -> Iterator[Action]:
    if healthy(observed):
        yield lambda cluster: _others_proved(cluster, name, observed)
        yield _leader_moved(name, observed)
    yield lambda cluster: stop(_require_host(cluster, name), cluster.number(name))
    yield lambda cluster: start(_require_host(cluster, name), cluster.number(name))
    yield _proved(name, observed)


def _join(name: str, observed: Observed) -> Iterator[Action]:
    seen = observed.reachable()[name]
    if not seen.unit.is_running:
        if not seen.has_member:
            yield lambda cluster: _on(name, joining=True)(_with_quorum(cluster))
        yield lambda cluster: start(_require_host(cluster, name), cluster.number(name))
    yield lambda cluster: _answering(cluster, name)


def _retire(name: str) -> Iterator[Action]:
    yield lambda cluster: stop(_require_host(cluster, name), cluster.number(name))
    yield _on(name, enabled=False)
    yield _on(name, data=None, log=NEVER, joining=False)
    yield _on(name, conf=None, certs=-1, marker="")


def _number(cluster: Cluster, name: str) -> int:
    number = cluster.number(name)
    if not cluster.slots[number].is_seen:
        raise StepFailed(f"{name} was lost")
    return number


def _require_host(cluster: Cluster, name: str) -> Cluster:
    _number(cluster, name)
    return cluster


def _on(name: str, **changes: object) -> Action:
    return lambda cluster: cluster.with_slot(_number(cluster, name), **changes)


def _with_certs(cluster: Cluster, names: set[str], value: int) -> Cluster:
    pki = tuple(
        value if slot.name in names else state for slot, state in zip(cluster.slots, cluster.pki, strict=True)
    )
    return replace(cluster, pki=pki)


def _formed(cluster: Cluster) -> Cluster:
    """Mark the writes as lost: the model's cluster exists, and a second one would not have the clients' writes."""
    return replace(cluster, lost=True)


def _with_quorum(cluster: Cluster) -> Cluster:
    """Require a quorum and a healthy member that can be reached: without them etcd's API changes nothing."""
    if cluster.leader is None or not any(_is_well(cluster, n) for n in cluster.voters()):
        raise StepFailed("no healthy member can be reached")
    return cluster


def _is_well(cluster: Cluster, number: int) -> bool:
    slot = cluster.slots[number]
    return (
        slot.is_seen
        and not slot.hidden
        and serves(slot)
        and slot.listed == "voter"
        and cluster.leader is not None
        and connected(slot, cluster.slots[cluster.leader])
    )


def _proved(name: str, observed: Observed) -> Action:
    """Require, as ops/world/wait.py does, that the member is a healthy voter of a quorum."""

    def reached(cluster: Cluster) -> Cluster:
        well = [each for each in voter_names(observed) if _is_well(cluster, cluster.number(each))]
        if not _is_well(cluster, _number(cluster, name)):
            raise StepFailed(f"{name} does not become healthy")
        if len({*well, name}) < quorum_of(len({*voter_names(observed), name})):
            raise StepFailed("the cluster has no quorum")
        return cluster

    return reached


def _others_proved(cluster: Cluster, name: str, observed: Observed) -> Cluster:
    """Require a quorum without the member to restart, if another is not healthy, as ops/members/lifecycle.py does."""
    others = [each for each in voter_names(observed) if each != name]
    well = [each for each in others if _is_well(cluster, cluster.number(each))]
    if len(well) < len(others) and len(well) < quorum_of(len(cluster.voters())):
        raise StepFailed(f"{name} is not restarted: without it the cluster would have no quorum")
    return cluster


def _leader_moved(name: str, observed: Observed) -> Action:
    """Transfer leadership to the healthy member that stays and has applied most. A failure is harmless."""
    well = {
        other: seen
        for other, seen in healthy(observed).items()
        if other != name and other not in observed.leaving
    }

    def moved(cluster: Cluster) -> Cluster:
        seen = observed.members[name]
        if not isinstance(seen, MemberSeen) or seen.leader_id != seen.member_id or not well:
            return cluster
        target = cluster.number(max(well, key=lambda other: well[other].applied_index))
        if cluster.leader != cluster.number(name) or not _is_well(cluster, target):
            return cluster
        return replace(cluster, leader=target)

    return moved


def _added(cluster: Cluster, name: str, desired: DesiredSpec) -> Cluster:
    """Add a learner. etcd's strict check counts the connected voters (rules 26, 28)."""
    number = _number(cluster, name)
    slot = cluster.slots[number]
    if slot.listed or any(each.listed == "learner" for each in cluster.slots):
        raise StepFailed("too many learner members in cluster")
    if len(cluster.live_voters()) < quorum_of(len(cluster.voters()) + 1) and len(cluster.voters()) > 1:
        raise StepFailed("unhealthy cluster")
    generation = slot.generation + 1
    return converge(
        cluster.with_slot(
            number, listed="learner", generation=generation, named=False, url=desired.urls[name]
        )
    )


def _promoted(cluster: Cluster, name: str) -> Cluster:
    number = _number(cluster, name)
    slot = cluster.slots[number]
    if slot.listed == "voter":
        return cluster
    if not (serves(slot) and slot.process and slot.process.ready and slot.log == 0):
        raise StepFailed(f"{name} is not in sync")
    return converge(_with_quorum(cluster).with_slot(number, listed="voter"))


def _removed(cluster: Cluster, ident: int) -> Cluster:
    """Remove a member. etcd's strict checks require enough started members and a quorum of live ones (rule 35)."""
    number = _entry(cluster, ident)
    slot = cluster.slots[number]
    if slot.listed == "voter":
        left = [n for n in cluster.voters() if n != number]
        if sum(cluster.slots[n].named for n in left) < len(left) // 2 + 1:
            raise StepFailed("re-configuration failed due to not enough started members")
        live = cluster.live_voters()
        if number in live and len(live) - 1 < 1 + (len(cluster.voters()) - 1) // 2:
            raise StepFailed("unhealthy cluster")
    return converge(cluster.with_slot(number, listed="", named=False, ours_down=False))


def _entry(cluster: Cluster, ident: int) -> int:
    for number, slot in enumerate(cluster.slots):
        if slot.listed and member_id(number, slot) == ident:
            return number
    raise StepFailed("member not found")


def _answering(cluster: Cluster, name: str) -> Cluster:
    slot = cluster.slots[_number(cluster, name)]
    if cluster.leader is None or slot.process is None or not slot.process.ready or not serves(slot):
        raise StepFailed(f"{name} does not answer")
    return cluster
