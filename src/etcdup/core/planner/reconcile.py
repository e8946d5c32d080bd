"""A cluster that exists: everything that separates it from cluster.yaml, in the order in which it is safe.

Quiet preparation first; then members that are in the way go, stopped ones start, moved ones get their address;
then one joins and one leaves in turn; settings and versions are rolled out last, over members that are all well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from etcdup.core.certs.required import due as due_certificate
from etcdup.core.certs.required import wanted_certs
from etcdup.core.host.drift import binaries_steps, host_steps, preparation
from etcdup.core.members.member_list import listed
from etcdup.core.members.membership import Change, against_clusters, membership
from etcdup.core.members.quorum import may_start
from etcdup.core.members.quorum_forecast import with_quorum
from etcdup.core.members.rolling_restart import restarts_due, roll
from etcdup.core.observed.model import HostSeen, MemberSilent, Observed, PkiSeen
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import (
    AddLearner,
    InstallBinaries,
    IssueCertificates,
    ObtainBinaries,
    SealCluster,
    StartMember,
)
from etcdup.core.planner.guards import against_first
from etcdup.core.planner.notes import notes
from etcdup.core.spec.model import Spec
from etcdup.core.versions.upgrade_paths import Hop
from etcdup.core.versions.version_steps import against_start, behind, call_off, change_version, way

Due = dict[str, tuple[str, ...]]


def upkeep(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """The plan for a cluster that exists, or every reason why there is none."""
    issuing = certificates(spec, observed)
    observed = replace(observed, pki=without_due(observed.pki, issuing))
    change = membership(spec, observed)
    path = way(spec, observed)
    told = notes(spec, observed, change, () if isinstance(path, Refused) else path)
    if reasons := _against(spec, observed, change, path):
        return Refusal(spec.name, reasons, told)
    assert not isinstance(path, Refused)
    steps = [*issuing, *_steps(spec, observed, token, change, path)]
    steps = with_quorum(with_archives(steps, observed), observed)
    if reasons := against_first(steps, spec, observed):
        return Refusal(spec.name, reasons, told)
    return Plan(spec.name, tuple(steps), told, token)


def certificates(spec: Spec, observed: Observed) -> list[Step]:
    """Certificates that are lacking or due, and the CA where there is none yet."""
    if spec.tls.mode != "managed":
        return []
    pki = observed.pki
    why = {
        wanted.role: reason
        for wanted in wanted_certs(spec)
        if (reason := due_certificate(wanted, pki.certs.get(wanted.role), pki.authority, observed.at))
    }
    if not why:
        return []
    first = pki.authority is None
    reason = "this cluster has no CA yet" if first else "; ".join(_by_reason(why))
    return [IssueCertificates(roles=tuple(why), makes_authority=first, reason=reason, rules=(18, 19, 20))]


def without_due(pki: PkiSeen, issuing: Sequence[Step]) -> PkiSeen:
    """What the operator holds, without the files that are about to be written: what these will hold nobody knows
    yet, so that whoever has the old ones is planned to get the new ones."""
    due = {role for step in issuing if isinstance(step, IssueCertificates) for role in step.roles}
    return (
        replace(pki, files={role: sums for role, sums in pki.files.items() if role not in due})
        if due
        else pki
    )


def _by_reason(why: Mapping[str, str]) -> Iterator[str]:
    """`server/infra4, peer/infra4: there is none yet`: each reason once."""
    for text in dict.fromkeys(why.values()):
        yield f"{', '.join(role for role in why if why[role] == text)}: {text}"


def with_archives(steps: Sequence[Step], observed: Observed) -> list[Step]:
    """The steps, with each version's archive obtained once, before the first host that needs it."""
    complete: list[Step] = []
    for index, step in enumerate(steps):
        first = isinstance(step, InstallBinaries) and not any(
            isinstance(each, InstallBinaries) and each.version == step.version for each in steps[:index]
        )
        if first and isinstance(step, InstallBinaries):
            complete += _obtain(step.version, steps, observed)
        complete.append(step)
    return complete


def seal(hosts: tuple[str, ...]) -> Step:
    return SealCluster(
        hosts=hosts, reason="the cluster exists: a wiped host must never form it again", rules=(6, 7)
    )


def _obtain(version: str, steps: Iterable[Step], observed: Observed) -> list[Step]:
    binaries = next((each for each in observed.binaries if str(each.version) == version), None)
    if binaries is None or (binaries.source == "package" and not binaries.sha256):
        return []
    hosts = [step.host for step in steps if isinstance(step, InstallBinaries) and step.version == version]
    return [
        ObtainBinaries(
            version=version,
            source=binaries.source,
            origin=binaries.origin,
            arches=tuple(sorted({observed.reachable()[name].arch for name in hosts})),
            reason=binaries.why,
            rules=(52, 98),
        )
    ]


def _against(
    spec: Spec, observed: Observed, change: Change, path: tuple[Hop, ...] | Refused
) -> tuple[Refused, ...]:
    if split := against_clusters(observed):
        return split
    reasons = list(change.refused)
    reasons += [path] if isinstance(path, Refused) else _against_version(spec, observed, change, path)
    stopped = _stopped(spec, observed, change)
    reasons += [reason for name in stopped if (reason := may_start(name, spec, observed))]
    return tuple(reasons)


def _against_version(spec: Spec, observed: Observed, change: Change, path: tuple[Hop, ...]) -> list[Refused]:
    if not path or not path[0].changes_minor:
        return []
    reasons = list(against_start(spec, path[0], observed))
    if change.removals or change.turns or change.moves:
        reasons.append(
            Refused(
                "cluster.yaml asks for another minor version and for other members at once",
                hint="one after the other: bring `version` back first, `etcdup apply`, and change it then",
                rules=(50,),
            )
        )
    return reasons


def _steps(spec: Spec, observed: Observed, token: str, change: Change, path: tuple[Hop, ...]) -> list[Step]:
    minor = bool(path) and path[0].changes_minor
    first = spec.at(path[0].target) if path else spec
    due = behind(first, observed, token) if minor else restarts_due(spec, observed, token)
    # A learner that runs already keeps its settings when it is promoted; one that is yet to be added starts with ours.
    anew = {step.host for step in change.turns if isinstance(step, AddLearner)}
    due = {name: why for name, why in due.items() if name not in anew}
    moved = {step.host: due.pop(step.host) for step in change.moves if step.host in due}
    moved_late = {step.host: due.pop(step.host) for step in change.late_moves if step.host in due}
    unsealed = _unsealed(spec, observed, change)
    return [
        *_prepared(first, observed, token, late={*due, *moved, *moved_late}, with_binaries=not minor),
        *([seal(unsealed)] if unsealed else []),
        *change.removals,
        *_starts(spec, observed, change),
        *change.moves,
        *roll(first, observed, token, moved),
        *change.turns,
        *change.late_moves,
        *roll(first, observed, token, moved_late),
        *(change_version(spec, path, observed, token) if minor else roll(spec, observed, token, due)),
        *(call_off(spec, observed) if not path else []),
    ]


def _prepared(
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
        steps += preparation(spec, host, seen, token)
        steps += binaries_steps(spec, host, seen, observed) if with_binaries else []
    return steps


def _unsealed(spec: Spec, observed: Observed, change: Change) -> tuple[str, ...]:
    """Voters whose hosts do not say yet that the cluster exists, or still hold a first start's settings.

    Nobody while no member tells who has a vote: a learner may be among them.
    """
    if not listed(observed):
        return ()
    return tuple(
        host.name
        for host in spec.hosts
        if (seen := observed.reachable().get(host.name)) is not None
        and host.name not in change.joining
        and seen.has_member
        and (seen.joining or (seen.marker is not None and not seen.marker.formed))
    )


def _stopped(spec: Spec, observed: Observed, change: Change) -> list[str]:
    return [
        host.name
        for host in spec.hosts
        if host.name not in change.joining and is_stopped(observed, host.name)
    ]


def is_stopped(observed: Observed, name: str) -> bool:
    """Whether etcd does not run there, and nobody is about to start it."""
    seen = observed.reachable().get(name)
    silent = isinstance(observed.members[name], MemberSilent)
    if not isinstance(seen, HostSeen) or not silent:
        return False
    return not seen.unit.is_running and not seen.unit.is_starting


def _starts(spec: Spec, observed: Observed, change: Change) -> list[Step]:
    reason = "its data is there and etcd does not run"
    return [StartMember(host=name, reason=reason, rules=(68,)) for name in _stopped(spec, observed, change)]
