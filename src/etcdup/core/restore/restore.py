"""The plan of `restore`: a snapshot becomes the cluster's data, on the hosts of cluster.yaml.

All that takes time is done beside the running cluster, and proves that the file can be restored. Only then is every
member stopped; old data is moved aside, restored data put in its place, and all are started together. How far a host
is, its mark says, so that the same restore goes on wherever it was cut.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.issue import certificate_steps, pki_without_due
from etcdup.core.certs.trust import refuse_other_ca
from etcdup.core.host.drift import binaries_steps, preparation_steps, settings_steps, switch_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.host.startup_fence import former_tokens
from etcdup.core.members.bootstrap import refuse_join, refuse_prepare
from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import HostSeen, Marker, Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import (
    FenceOff,
    PlaceData,
    SealRestore,
    StageRestore,
    StartRestored,
    StopMembers,
)
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RetireMember
from etcdup.core.restore.data_copy import copy_steps
from etcdup.core.restore.stopped_check import still_running
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import Version, parse_version

# Watchers never see a revision go back, as long as fewer were written since the snapshot (rule 58).
BUMP = 1_000_000_000
WAL_SPACE = 256 * 1024**2


def restore_token(spec: Spec, observed: Observed, fresh: str) -> str:
    """The token of the restore that is under way, or the fresh one."""
    begun = sorted(mark.token for mark in _markers(spec, observed) if mark.is_being_restored)
    return begun[0] if begun else fresh


def was_restored(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    """Whether this very file is what all hosts were restored from last, to the end."""
    marks = _markers(spec, observed)
    same = [
        m for m in marks if m.restored and (m.restored.sha256, m.restored.stage) == (snapshot.sha256, "done")
    ]
    return len(same) == spec.size and len({mark.token for mark in same}) == 1


def plan_restore(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    aside: str,
    copied: Collection[str] = (),
    against: tuple[Refused, ...] = (),
) -> Plan | Refusal:
    """`token` is from `token_of` on the first look, and so is `against` (provenance.py): a restore that has begun
    changes what speaks for it. `aside` is `aside-TIME`. `copied` are hosts whose data is copied before anything takes
    its place."""
    notes = _notes(snapshot)
    if reasons := against + _refuse_restore(spec, observed, snapshot, token):
        return Refusal(spec.name, reasons, notes)
    stages = {host.name: _stage(observed.reachable()[host.name], token) for host in spec.hosts}
    if set(stages.values()) == {"done"}:
        return Plan(spec.name, (), notes, token)
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    steps = [*issuing, *_steps(spec, observed, snapshot, token, aside, stages, copied)]
    return Plan(spec.name, tuple(with_obtain_steps(steps, observed)), notes, token)


def _steps(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    aside: str,
    stages: dict[str, str],
    copied: Collection[str],
) -> Iterator[Step]:
    hosts = [(host, observed.reachable()[host.name]) for host in spec.hosts]
    names = tuple(host.name for host in spec.hosts)
    bump = _bump(spec, observed)
    for host, seen in hosts:
        if not stages[host.name]:
            yield from preparation_steps(spec, host, seen, token)
            yield from binaries_steps(spec, host, seen, observed)
            yield StageRestore(
                host=host.name, snapshot=snapshot.path, sha256=snapshot.sha256, token=token, aside=aside,
                bump=bump, reason="what runs is not touched, and a file that cannot be restored stops here",
                rules=(4, 54, 56, 58, 59),
            )  # fmt: skip
    waiting = [name for name in names if stages[name] in ("", "staged")]
    if waiting and (running := still_running(spec, observed)):
        reason = "no member of the old cluster may meet one of the new"
        yield StopMembers(hosts=running, reason=reason, rules=(57,), quorum="no member serves from here on")
    yield from copy_steps(copied, token)
    for name in _leaving(spec, observed):
        yield RetireMember(host=name, suffix=aside, reason="cluster.yaml has it no more", rules=(57,))
    for name in waiting:
        yield PlaceData(host=name, aside=aside, reason="it is restored; nothing is deleted", rules=(56,))
    for host, seen in hosts:
        if stages[host.name] != "done":
            yield from settings_steps(spec, host, seen, token, observed.pki)
            yield from switch_steps(spec, host, seen)
    if waiting or len(healthy(observed)) < spec.size:
        reason = "all have restored data of one file and one token"
        yield StartRestored(hosts=names, reason=reason, rules=(1, 2, 11), quorum="all members serve again")
    if former := former_tokens(spec, observed, token):
        reason = "old members that come back ask for it, and stay down"
        yield FenceOff(host=names[0], tokens=former, reason=reason, rules=(57, 65))
    for name in names:
        if stages[name] != "done":
            yield SealRestore(host=name, reason="it was proved by a write and a read")


def _refuse_restore(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str
) -> tuple[Refused, ...]:
    reasons = [
        Refused(
            f"{name} cannot be reached: {gone.why}",
            hint=gone.hint or "its member may still run: unreachable is not down",
            host=name,
            rules=(57, 62),
        )
        for name, gone in observed.unreachable().items()
    ]
    reasons += _refuse_newer_snapshot(spec, snapshot)
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += _refuse_restore_on_host(spec, host, seen, observed, snapshot, token)
    return tuple(reasons)


def _refuse_newer_snapshot(spec: Spec, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    """An older minor does not know the form of newer data (rule 49)."""
    if not snapshot.made_by or parse_version(snapshot.made_by).series <= spec.version.series:
        return ()
    made, series = parse_version(snapshot.made_by), f"{spec.version.major}.{spec.version.minor}"
    return (
        Refused(
            f"the snapshot is of a cluster of etcd {made.major}.{made.minor}, and `version` is {spec.version}",
            hint=f"set `version` to a release of {made.major}.{made.minor} or later: {series} cannot read its data",
            rules=(49,),
        ),
    )


def _refuse_restore_on_host(
    spec: Spec, host: HostSpec, seen: HostSeen, observed: Observed, snapshot: SnapshotFile, token: str
) -> tuple[Refused, ...]:
    fresh = refuse_join(spec, host, seen) if seen.marker is None else refuse_prepare(spec, host, seen)
    reasons = [*fresh, *refuse_other_ca(spec, seen, observed)]
    mark = seen.marker
    if _stage(seen, token) == "undo":
        reasons.append(
            Refused(
                f"the last restore of {host.name} is being undone",
                hint="finish that first: `etcdup restore --undo` goes on from where it was",
                host=host.name,
            )
        )
    elif mark and mark.restored and mark.is_being_restored and mark.restored.sha256 != snapshot.sha256:
        reasons.append(
            Refused(
                f"{host.name} is in the middle of a restore of another file (sha256 {mark.restored.sha256[:12]})",
                hint="finish that one first, with the same snapshot: `etcdup restore` goes on from where it was",
                host=host.name,
            )
        )
    need = space_needed(snapshot)
    if not _stage(seen, token) and seen.data.free_bytes < need:
        reasons.append(
            Refused(
                f"no space on {host.name}: {seen.data.path} has {show_size(seen.data.free_bytes)} free, "
                f"{show_size(need)} are needed for the snapshot and what is restored from it",
                hint="the old data stays beside it: make room, or give the folder a larger disk",
                host=host.name,
            )
        )
    return tuple(reasons)


def space_needed(snapshot: SnapshotFile) -> int:
    """For the file on a host, and what is restored from it."""
    return 2 * snapshot.size + WAL_SPACE


def _stage(seen: HostSeen, token: str) -> str:
    """How far this restore is on a host; empty where it has not begun."""
    mark = seen.marker
    return mark.restored.stage if mark is not None and mark.restored and mark.token == token else ""


def _markers(spec: Spec, observed: Observed) -> list[Marker]:
    seen = [observed.reachable().get(host.name) for host in spec.hosts]
    return [
        s.marker for s in seen if s is not None and s.marker is not None and s.marker.cluster == spec.name
    ]


def _leaving(spec: Spec, observed: Observed) -> list[str]:
    """Hosts beyond cluster.yaml that still bear this cluster's mark."""
    ours = {host.name for host in spec.hosts}
    return [
        name
        for name, seen in observed.reachable().items()
        if name not in ours and seen.marker is not None and seen.marker.cluster == spec.name
    ]


def _bump(spec: Spec, observed: Observed) -> int:
    """More than any restore before it added, so that a second restore of one file does not go back either. 0 where
    the version cannot do it (rule 58)."""
    if not can_bump(spec.version):
        return 0
    return BUMP + max((mark.restored.bump for mark in _markers(spec, observed) if mark.restored), default=0)


def can_bump(version: Version) -> bool:
    return version >= (3, 5, 10) or (3, 4, 27) <= version < (3, 5, 0)


def _notes(snapshot: SnapshotFile) -> tuple[str, ...]:
    """What there is to judge by whose data it is."""
    made = f"of etcd {snapshot.made_by.rpartition('.')[0]}" if snapshot.made_by else "of an unknown version"
    whose = "" if snapshot.origin or snapshot.members else ". It does not say which cluster it is from"
    members = (f"it is of a cluster with the members {snapshot.members_text}",) if snapshot.members else ()
    return (
        f"{snapshot.title}: {show_size(snapshot.size)}, revision {snapshot.revision}, {made}, whole (sha256 "
        f"{snapshot.sha256[:12]}){whose}",
        *members,
        "everything written since the snapshot is not in the restored cluster; the old data stays aside on each host",
    )
