"""The plan of `restore`: replace the data on the hosts of cluster.yaml by a snapshot, as a new cluster.

Everything that takes time is done next to the running cluster, and proves that the file can be restored. Only then
are all members stopped, the old data is archived, the restored data is put in place, and all members are started
together. The marker of each host records how far the restore is, so that the same restore resumes after any
interruption.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.issue import certificate_steps, pki_without_due, refuse_untimely
from etcdup.core.certs.revocation import restored_notes
from etcdup.core.certs.trust import refuse_other_ca
from etcdup.core.host.drift import binaries_steps, preparation_steps, settings_steps, switch_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.host.startup_fence import former_tokens
from etcdup.core.members.bootstrap import forget_host_command, refuse_join, refuse_prepare
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import healthy, refuse_unmounted
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.model import COMPLETE, HostSeen, Marker, Observed, Restored, Unreachable
from etcdup.core.observed.parse_marker import MAX_BUMP
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import (
    FenceOff,
    OpenClients,
    PlaceData,
    RevokeLeases,
    SealRestore,
    StageRestore,
    StartRestored,
    StopMembers,
)
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import RetireMember
from etcdup.core.restore.client_notes import can_bump, client_note, lease_notes
from etcdup.core.restore.data_copy import copy_steps
from etcdup.core.restore.lost_hosts import (
    SERVED,
    left_out,
    lost_hosts,
    must_prepare_again,
    serves_clients,
    stage_of,
)
from etcdup.core.restore.snapshot_space import (
    disarm_restored,
    larger_quota_steps,
    refuse_full_restored,
    refuse_read_only,
    space_note,
)
from etcdup.core.restore.stopped_check import still_running
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import parse_version

# A watcher never sees revisions go back, as long as fewer revisions than this were written after the snapshot
# (rule 58). https://etcd.io/docs/v3.6/op-guide/recovery/
BUMP = 1_000_000_000
# etcd preallocates its write-ahead log in files of 64 MiB.
WAL_SPACE = 256 * 1024**2


def restore_token(spec: Spec, observed: Observed, fresh: str) -> str:
    """Return the token of the restore that is in progress, or `fresh`."""
    return token_to_resume(spec, observed, fresh, _markers(spec, observed))


def token_to_resume(spec: Spec, observed: Observed, fresh: str, markers: Collection[Marker]) -> str:
    """Return the token of the attempt in progress that these markers have, or `fresh`.

    It is `fresh` if no attempt is in progress, or if all hosts must be prepared again. A marker names the tokens of
    abandoned attempts. It is the word of one host, so an attempt whose members serve clients is not abandoned.
    """
    begun = sorted({marker.token for marker in markers if marker.is_being_restored})
    abandoned = {token for marker in markers if marker.restored for token in marker.restored.former}
    serving = [token for token in begun if serves_clients(spec, observed, token)]
    going_on = serving or [token for token in begun if token not in abandoned]
    return going_on[0] if going_on and not must_prepare_again(spec, observed, going_on[0]) else fresh


def begun_restore(spec: Spec, observed: Observed) -> str:
    """Return the sha256 of the snapshot whose restore is in progress; empty if there is none."""
    begun = [
        marker.restored.sha256
        for marker in _markers(spec, observed)
        if marker.restored
        and marker.is_being_restored
        and marker.restored.stage != "undo"
        and not marker.restored.undoes
    ]
    return min(begun, default="")


def was_restored(spec: Spec, observed: Observed, snapshot: SnapshotFile) -> bool:
    """Return whether the last complete restore of the present cluster was from this file.

    Members that joined after the restore have its sha256 from the markers of the others (core/host/marker.py).
    """
    markers = _markers(spec, observed)
    past = {token for marker in markers if marker.restored for token in marker.restored.former}
    present = [marker for marker in markers if marker.token not in past]
    if len({marker.token for marker in present}) != 1 or any(marker.is_being_restored for marker in present):
        return False
    restored = [marker.restored for marker in present if marker.restored]
    return any(each.stage in COMPLETE and each.sha256 == snapshot.sha256 for each in restored)


def _refuse_denied(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to begin a restore that etcd would stop at its end. One that has begun is finished."""
    begun = any(marker.is_being_restored for marker in _markers(spec, observed))
    return () if begun else refuse_without_access(spec, observed)


def plan_restore(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    suffix: str,
    copied: Collection[str] = (),
    against: tuple[Refused, ...] = (),
    *,
    keep_leases: bool = False,
    undoes: Mapping[str, str] | None = None,
) -> Plan | Refusal:
    """Return the steps of a restore, or the reasons against it.

    `token` is the result of `restore_token`, and `against` the result of `refuse_foreign_snapshot`, both on the first
    observation: a restore in progress changes the facts that they need. `suffix` is `aside-TIME`. `copied` are hosts
    whose data is copied before other data replaces it. Unless `keep_leases`, all leases are revoked before clients can
    connect. If this restore undoes another one, `undoes` are the suffixes of the archived data by host.
    """
    notes = restore_notes(spec, snapshot, keep_leases=keep_leases)
    refused = _refuse_restore(spec, observed, snapshot, token, is_undo=undoes is not None)
    if reasons := against + _refuse_denied(spec, observed) + refused:
        return Refusal(spec.name, reasons, notes)
    notes += restored_notes(spec, observed)
    lost = left_out(spec, observed, token)
    stages = {
        host.name: stage_of(observed.reachable()[host.name], token)
        for host in spec.hosts
        if host.name not in lost
    }
    if set(stages.values()) == {"done"}:
        return Plan(spec.name, (), notes, token)
    if not _starts(stages, observed) and (full := refuse_full_restored(spec, observed)):
        return Refusal(spec.name, full, notes)
    issuing = certificate_steps(spec, observed)
    observed = replace(observed, pki=pki_without_due(observed.pki, issuing))
    steps = [
        *issuing,
        *_steps(spec, observed, snapshot, token, suffix, stages, copied, keep_leases, undoes or {}),
    ]
    if reasons := refuse_untimely(steps, spec, observed):
        return Refusal(spec.name, reasons, notes)
    planned = Plan(spec.name, tuple(with_obtain_steps(steps, observed)), notes, token)
    return only_on_ready_hosts(planned, spec, observed)


def _steps(
    spec: Spec,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    suffix: str,
    stages: dict[str, str],
    copied: Collection[str],
    keep_leases: bool,
    undoes: Mapping[str, str],
) -> Iterator[Step]:
    hosts = [(host, observed.reachable()[host.name]) for host in spec.hosts if host.name in stages]
    names = tuple(stages)
    bump = _bump(spec, observed, snapshot, token)
    for host, seen in hosts:
        if not stages[host.name]:
            yield from preparation_steps(spec, host, seen, token)
            yield from binaries_steps(spec, host, seen, observed)
            reason = "this proves that the file can be restored; the running members are not changed"
            yield StageRestore(
                host=host.name, snapshot=snapshot.path, sha256=snapshot.sha256, token=token, aside=suffix,
                bump=bump, undoes=undoes.get(host.name, ""), reason=reason,
                rules=(4, 54, 56, 58, 59),
            )  # fmt: skip
    waiting = [name for name in names if stages[name] in ("", "staged")]
    if waiting and (running := still_running(spec, observed, token)):
        reason = "members of the old cluster must not run together with members of the restored cluster"
        yield StopMembers(
            hosts=running, reason=reason, rules=(57,), quorum="no member serves clients after this step"
        )
    yield from copy_steps(copied, token)
    for name in _leaving(spec, observed):
        reason = "the restored cluster does not include this host"
        yield RetireMember(host=name, suffix=suffix, reason=reason, rules=(57,))
    for name in waiting:
        reason = "the restored data is ready; the old data is renamed, not deleted"
        yield PlaceData(host=name, aside=suffix, closed=not keep_leases, reason=reason, rules=(56,))
    for host, seen in hosts:
        if (stage := stages[host.name]) != "done":
            with_conf = keep_leases or stage == "open"
            yield from settings_steps(spec, host, seen, token, observed.pki, with_conf=with_conf)
            yield from switch_steps(spec, host, seen)
    yield from _lease_steps(stages, keep_leases=keep_leases)
    starting = (
        () if (starts := _starts(stages, observed)) else tuple(larger_quota_steps(spec, observed, names))
    )
    yield from starting
    if starts or any(isinstance(step, StopMembers) for step in starting):
        reason = "all hosts have data that was restored from the same file with the same token"
        yield StartRestored(
            hosts=names, reason=reason, rules=(1, 2, 11), quorum="all members serve clients again"
        )
    yield from disarm_restored(spec, observed, snapshot, starts=starts)
    if former := former_tokens(spec, observed, token):
        reason = "an old member that starts later and reads the key with its own token stays stopped"
        yield FenceOff(host=names[0], tokens=former, reason=reason, rules=(57, 65))
    for name in names:
        if stages[name] != "done":
            yield SealRestore(host=name, reason="a write and a read through the member succeeded")
    for host in spec.hosts:
        stage = stage_of(observed.reachable()[host.name], token)
        if host.name not in stages and stage not in ("", "done"):
            reason = "its restored data is lost, and the other members are a quorum"
            yield SealRestore(host=host.name, reason=reason, rules=(32,))


def _starts(stages: Mapping[str, str], observed: Observed) -> bool:
    """Return whether members are started for clients: not all data is open for them, or not all members run."""
    return not set(stages.values()) <= set(SERVED) or len(healthy(observed)) < len(stages)


def _lease_steps(stages: dict[str, str], *, keep_leases: bool) -> Iterator[Step]:
    """Yield the steps between the restored data and its clients.

    All hosts are `open` only after the leases were revoked or kept. Otherwise an interrupted revocation is repeated.
    """
    closed = [name for name, stage in stages.items() if stage in ("", "staged", "placed")]
    if not closed:
        return
    if keep_leases:
        opened = [name for name in closed if stages[name] == "placed"]
    else:
        opened = list(stages)
        reason = (
            "a lease in a snapshot is a claim of a process at that time, and another process may have it now"
        )
        yield RevokeLeases(hosts=tuple(stages), reason=reason, rules=(119,))
    for name in opened:
        reason = "the leases are kept" if keep_leases else "the restored data has no lease"
        yield OpenClients(host=name, reason=reason)


def _refuse_unreachable(spec: Spec, gone: Unreachable, observed: Observed) -> Refused:
    """Refuse while a host cannot be reached, because its member may still run. A lost host must be named as lost."""
    name = gone.host
    reach = gone.hint or f"make {name} reachable"
    if name not in observed.leaving:
        lost = "write another host into cluster.yaml in its place"
    elif name in {name_of(each) for each in member_list(observed)}:
        lost = "run `etcdup apply` first, which removes its member, or `etcdup recover` without a quorum"
    else:
        lost = f"run `{forget_host_command(spec, name)}`"
    return Refused(
        f"{name} cannot be reached, and its member may still run: {gone.why}",
        hint=f"{reach}. If {name} is permanently lost, {lost}. Then run the same command again",
        host=name,
        rules=(57, 62),
    )


def _refuse_restore(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str, *, is_undo: bool
) -> tuple[Refused, ...]:
    reasons = [_refuse_unreachable(spec, gone, observed) for gone in observed.unreachable().values()]
    reasons += [*refuse_stale_pki(spec, observed), *_refuse_newer_snapshot(spec, snapshot)]
    reasons += refuse_read_only(spec, snapshot)
    if must_prepare_again(spec, observed, token):
        lost = lost_hosts(spec, observed, token)
        reasons.append(
            Refused(
                f"{', '.join(lost)} has no restored data any more, and other members may have started with theirs",
                hint="run the same command again: it prepares all hosts again, with a new token",
                host=lost[0],
                rules=(32,),
            )
        )
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        if seen is not None:
            reasons += _refuse_restore_on_host(spec, host, seen, observed, snapshot, token, is_undo=is_undo)
            reasons += refuse_unmounted(seen) if host.name not in left_out(spec, observed, token) else ()
    return tuple(reasons)


def _refuse_newer_snapshot(spec: Spec, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    """Refuse a snapshot of a newer minor: an older minor cannot read its data format (rule 49)."""
    if not snapshot.made_by or parse_version(snapshot.made_by).series <= spec.version.series:
        return ()
    made, series = parse_version(snapshot.made_by), f"{spec.version.major}.{spec.version.minor}"
    return (
        Refused(
            f"the snapshot is from etcd {made.major}.{made.minor}, and `version` in cluster.yaml is {spec.version}",
            hint=f"set `version` to a release of {made.major}.{made.minor} or later: "
            f"etcd {series} cannot read the snapshot's data",
            rules=(49,),
        ),
    )


def _refuse_restore_on_host(
    spec: Spec,
    host: HostSpec,
    seen: HostSeen,
    observed: Observed,
    snapshot: SnapshotFile,
    token: str,
    *,
    is_undo: bool,
) -> tuple[Refused, ...]:
    fresh = (
        refuse_join(spec, host, seen, observed) if seen.marker is None else refuse_prepare(spec, host, seen)
    )
    reasons = [*fresh, *refuse_other_ca(spec, seen, observed)]
    if stage_of(seen, token) == "undo":
        reasons.append(
            Refused(
                f"the undo of the last restore on {host.name} is not complete",
                hint="complete the undo first: run `etcdup restore --undo`, which resumes it",
                host=host.name,
            )
        )
    elif not is_undo and (other := _unfinished_restore(seen.marker, snapshot)):
        reasons.append(
            Refused(
                f"{host.name} has an unfinished restore of another file (sha256 {other.sha256[:12]})",
                hint="run `etcdup restore --undo` again, which resumes it"
                if other.undoes
                else "run the interrupted command again, which resumes it: `etcdup restore` with the same snapshot and "
                "options, or `etcdup recover`. `etcdup history` shows which command began it on this machine, and "
                "`etcdup backup list --json` shows the sha256 of each backup",
                host=host.name,
            )
        )
    need = space_needed(snapshot)
    if not stage_of(seen, token) and seen.data.free_bytes < need:
        reasons.append(
            Refused(
                f"{host.name}: {seen.data.path} has {show_size(seen.data.free_bytes)} of free space, and the snapshot "
                f"and the restored data need {show_size(need)}",
                hint=f"free disk space on {host.name}, or use a larger disk, then run the same command again. The old "
                "data stays on the disk, next to the restored data",
                host=host.name,
            )
        )
    return tuple(reasons)


def _unfinished_restore(marker: Marker | None, snapshot: SnapshotFile) -> Restored | None:
    """Return the restore of another file that is in progress, or None."""
    if marker is None or marker.restored is None or not marker.is_being_restored:
        return None
    return marker.restored if marker.restored.sha256 != snapshot.sha256 else None


def space_needed(snapshot: SnapshotFile) -> int:
    """Return the bytes that a host needs for the snapshot file and the data restored from it."""
    return 2 * snapshot.size + WAL_SPACE


def _markers(spec: Spec, observed: Observed) -> list[Marker]:
    hosts = map(observed.reachable().get, (host.name for host in spec.hosts))
    return [marker for seen in hosts if seen and (marker := seen.marker_of(spec.name))]


def _leaving(spec: Spec, observed: Observed) -> list[str]:
    """Return the hosts that have this cluster's marker and are not in `spec`."""
    own = {host.name for host in spec.hosts}
    return [
        name for name, seen in observed.reachable().items() if name not in own and seen.marker_of(spec.name)
    ]


def _bump(spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str) -> int:
    """Return by how much to raise the revisions; 0 if the version cannot raise them (rule 58).

    It is more than any earlier restore added, so that revisions do not go back if the same file is restored twice. A
    restore that resumes adds what it added on the other hosts: members with different revisions would be corrupt.
    Revisions of the snapshot that are left out are added too: clients have read them.
    """
    bumps = [(each.token, each.restored.bump) for each in _markers(spec, observed) if each.restored]
    if begun := [bump for own, bump in bumps if own == token]:
        return begun[0]
    if not can_bump(spec.version):
        return 0
    return min(BUMP + max((bump for _, bump in bumps), default=0) + snapshot.rewound_by, MAX_BUMP)


def restore_notes(spec: Spec, snapshot: SnapshotFile, *, keep_leases: bool) -> tuple[str, ...]:
    """Return what an operator needs to know: the content and origin of the snapshot, and what clients will notice."""
    made = (
        f"from etcd {snapshot.made_by.rpartition('.')[0]}"
        if snapshot.made_by
        else "from an unknown etcd version"
    )
    unknown = "" if snapshot.origin or snapshot.members else ". It is unknown which cluster the file is from"
    members = (
        (f"the snapshot is from a cluster with the members {snapshot.members_text}",)
        if snapshot.members
        else ()
    )
    until = f"revision {snapshot.revision}" if snapshot.rewound_from else "the snapshot"
    return (
        f"{snapshot.title}: {show_size(snapshot.size)}, revision {snapshot.revision}, {made}, complete "
        f"(sha256 {snapshot.sha256[:12]}){unknown}",
        *members,
        f"the restored cluster does not contain what was written after {until}; the old data stays on each host, "
        "renamed to NAME.aside-TIME",
        *space_note(spec, snapshot),
        *lease_notes(snapshot.leases, keep_leases=keep_leases),
        client_note(spec.version),
    )
