"""The plan of `restore`: replace the data on the hosts of cluster.yaml by a snapshot, as a new cluster.

Everything that takes time is done next to the running cluster, and proves that the file can be restored. Only then
are all members stopped, the old data is archived, the restored data is put in place, and all members are started
together. The marker of each host records how far the restore is, so that the same restore resumes after any
interruption.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.issue import certificate_steps, pki_without_due, refuse_untimely
from etcdup.core.certs.revocation import restored_notes
from etcdup.core.host.drift import binaries_steps, preparation_steps, settings_steps, switch_steps
from etcdup.core.host.obtain_binaries import with_obtain_steps
from etcdup.core.host.startup_fence import former_tokens
from etcdup.core.members.quorum import healthy
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.model import Observed
from etcdup.core.observed.parse_marker import MAX_BUMP
from etcdup.core.plan.host_steps import RetireMember
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
from etcdup.core.restore.attempt import own_markers
from etcdup.core.restore.client_notes import can_bump, client_note, lease_notes
from etcdup.core.restore.data_copy import copy_steps
from etcdup.core.restore.lost_hosts import SERVED, abandoned_note, left_out, stage_of
from etcdup.core.restore.restore_guards import refuse_denied, refuse_restore
from etcdup.core.restore.snapshot_space import (
    disarm_restored,
    larger_quota_steps,
    refuse_full_restored,
    space_note,
)
from etcdup.core.restore.stopped_check import still_running
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

# A watcher never sees revisions go back, as long as fewer revisions than this were written after the snapshot
# (rule 58). https://etcd.io/docs/v3.6/op-guide/recovery/
BUMP = 1_000_000_000


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
    refused = refuse_restore(spec, observed, snapshot, token, is_undo=undoes is not None)
    if reasons := against + refuse_denied(spec, observed) + refused:
        return Refusal(spec.name, reasons, notes)
    notes += (*abandoned_note(spec, observed, token), *restored_notes(spec, observed))
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
    job = _Restore(spec, observed, snapshot, token, suffix, stages, keep_leases, undoes or {})
    steps = [*issuing, *_steps(job, copied)]
    if reasons := refuse_untimely(steps, spec, observed):
        return Refusal(spec.name, reasons, notes)
    planned = Plan(spec.name, tuple(with_obtain_steps(steps, observed)), notes, token)
    return only_on_ready_hosts(planned, spec, observed)


@dataclass(frozen=True)
class _Restore:
    """A restore that may have begun earlier. `stages` says by host how far it is."""

    spec: Spec
    observed: Observed
    snapshot: SnapshotFile
    token: str
    suffix: str
    stages: Mapping[str, str]
    keep_leases: bool
    undoes: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.stages)

    @property
    def waiting(self) -> list[str]:
        """The hosts whose restored data is not in place."""
        return [name for name, stage in self.stages.items() if stage in ("", "staged")]


def _steps(job: _Restore, copied: Collection[str]) -> Iterator[Step]:
    yield from _stage_steps(job)
    yield from _stop_steps(job)
    yield from copy_steps(copied, job.token)
    yield from _data_steps(job)
    yield from _file_steps(job)
    yield from _lease_steps(job)
    yield from _start_steps(job)
    yield from _seal_steps(job)


def _stage_steps(job: _Restore) -> Iterator[Step]:
    """Yield the steps next to the running cluster."""
    bump = _bump(job.spec, job.observed, job.snapshot, job.token)
    for host in job.spec.hosts:
        if job.stages.get(host.name) != "":
            continue
        seen = job.observed.reachable()[host.name]
        yield from preparation_steps(job.spec, host, seen, job.token)
        yield from binaries_steps(job.spec, host, seen, job.observed)
        reason = "this proves that the file can be restored; the running members are not changed"
        yield StageRestore(
            host=host.name, snapshot=job.snapshot.path, sha256=job.snapshot.sha256, token=job.token,
            aside=job.suffix, bump=bump, undoes=job.undoes.get(host.name, ""), reason=reason,
            rules=(4, 54, 56, 58, 59),
        )  # fmt: skip


def _stop_steps(job: _Restore) -> Iterator[Step]:
    running = still_running(job.spec, job.observed, job.token) if job.waiting else ()
    if running:
        reason = "members of the old cluster must not run together with members of the restored cluster"
        yield StopMembers(
            hosts=running, reason=reason, rules=(57,), quorum="no member serves clients after this step"
        )


def _data_steps(job: _Restore) -> Iterator[Step]:
    """Yield the steps that archive the old data and put the restored data in place."""
    for name in _leaving(job.spec, job.observed):
        reason = "the restored cluster does not include this host"
        yield RetireMember(host=name, suffix=job.suffix, reason=reason, rules=(57,))
    for name in job.waiting:
        reason = "the restored data is ready; the old data is renamed, not deleted"
        yield PlaceData(host=name, aside=job.suffix, closed=not job.keep_leases, reason=reason, rules=(56,))


def _file_steps(job: _Restore) -> Iterator[Step]:
    for host in job.spec.hosts:
        if (stage := job.stages.get(host.name, "done")) == "done":
            continue
        seen = job.observed.reachable()[host.name]
        with_conf = job.keep_leases or stage == "open"
        yield from settings_steps(job.spec, host, seen, job.token, job.observed.pki, with_conf=with_conf)
        yield from switch_steps(job.spec, host, seen)


def _starts(stages: Mapping[str, str], observed: Observed) -> bool:
    """Return whether members are started for clients: not all data is open for them, or not all members run."""
    return not set(stages.values()) <= set(SERVED) or len(healthy(observed)) < len(stages)


def _lease_steps(job: _Restore) -> Iterator[Step]:
    """Yield the steps between the restored data and its clients.

    All hosts are `open` only after the leases were revoked or kept. Otherwise an interrupted revocation is repeated.
    """
    closed = [name for name, stage in job.stages.items() if stage in ("", "staged", "placed")]
    if not closed:
        return
    if job.keep_leases:
        opened = [name for name in closed if job.stages[name] == "placed"]
    else:
        opened = list(job.names)
        reason = (
            "a lease in a snapshot is a claim of a process at that time, and another process may have it now"
        )
        yield RevokeLeases(hosts=job.names, reason=reason, rules=(119,))
    for name in opened:
        reason = "the leases are kept" if job.keep_leases else "the restored data has no lease"
        yield OpenClients(host=name, reason=reason)


def _start_steps(job: _Restore) -> Iterator[Step]:
    """Yield the steps that start all members for clients, or restart those whose quota is too small."""
    starts = _starts(job.stages, job.observed)
    larger = () if starts else tuple(larger_quota_steps(job.spec, job.observed, job.names))
    yield from larger
    if starts or any(isinstance(step, StopMembers) for step in larger):
        reason = "all hosts have data that was restored from the same file with the same token"
        yield StartRestored(
            hosts=job.names, reason=reason, rules=(1, 2, 11), quorum="all members serve clients again"
        )
    yield from disarm_restored(job.spec, job.observed, job.snapshot, starts=starts)


def _seal_steps(job: _Restore) -> Iterator[Step]:
    """Yield the steps that end the restore: the fence against old members, and the markers."""
    if former := former_tokens(job.spec, job.observed, job.token):
        reason = "an old member that starts later and reads the key with its own token stays stopped"
        yield FenceOff(host=job.names[0], tokens=former, reason=reason, rules=(57, 65))
    for name, stage in job.stages.items():
        if stage != "done":
            yield SealRestore(host=name, reason="a write and a read through the member succeeded")
    for host in job.spec.hosts:
        stage = stage_of(job.observed.reachable()[host.name], job.token)
        if host.name not in job.stages and stage not in ("", "done"):
            reason = "its restored data is lost, and the other members are a quorum"
            yield SealRestore(host=host.name, reason=reason, rules=(32,))


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
    bumps = [(each.token, each.restored.bump) for each in own_markers(spec, observed) if each.restored]
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
