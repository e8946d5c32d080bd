"""The undo of a restore whose cluster has served clients.

To put the archived data back would let revisions go back: watches would continue without an error and miss changes. So
a snapshot is taken from a copy of the archived data (disk_salvage.py) while the restored cluster still runs. It is then
restored like a backup: with higher revisions, and without the leases of that time. The archived data is only read.

If the restored data was never served, core/restore/undo.py puts the archived data back.
"""

from collections.abc import Mapping
from dataclasses import replace

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.wal import LastEntry
from etcdup.core.members.ready_hosts import only_on_ready_hosts
from etcdup.core.observed.marker import Marker, Restored
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.restore_steps import SalvageArchive
from etcdup.core.recovery.disk_salvage import newest_log, refuse_salvage, with_archived_data
from etcdup.core.restore.attempt import token_to_resume
from etcdup.core.restore.client_notes import client_note, lease_notes
from etcdup.core.restore.lost_hosts import lost_hosts, must_prepare_again
from etcdup.core.restore.restore import plan_restore
from etcdup.core.restore.undo import is_undo_begun, refuse_host_without_archive, refuse_unreachable
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec

SERVED = ("open", "done")


def is_undone_by_restore(spec: Spec, observed: Observed) -> bool:
    """Return whether the restored data has served clients, or an undo of this kind is in progress."""
    if begun_undo(spec, observed):
        return True
    stages = {restored.stage for _, restored in _restored(spec, observed)}
    return bool(stages.intersection(SERVED)) and not is_undo_begun(spec, observed)


def begun_undo(spec: Spec, observed: Observed) -> tuple[Marker, ...]:
    """Return the markers of the undo that is in progress; none if there is none."""
    return tuple(
        marker
        for marker, restored in _restored(spec, observed)
        if restored.undoes and marker.is_being_restored
    )


def undo_token(spec: Spec, observed: Observed, fresh: str) -> str:
    """Return the token of the undo that is in progress. It is `fresh` if all hosts must be prepared again."""
    return token_to_resume(spec, observed, fresh, begun_undo(spec, observed))


def needs_snapshot(spec: Spec, observed: Observed) -> bool:
    """Return whether the undo needs the file of its snapshot.

    Data is put in place only after every host has the restored data. So from then on the file is not needed, unless a
    host lost that data before clients were served.
    """
    begun = begun_undo(spec, observed)
    staged = all(marker.restored and marker.restored.stage == "staged" for marker in begun)
    return staged or any(must_prepare_again(spec, observed, marker.token) for marker in begun)


def placed_snapshot(spec: Spec, observed: Observed) -> SnapshotFile:
    """Return the snapshot of an undo that does not need the file any more."""
    (first, *_) = begun_undo(spec, observed)
    assert first.restored is not None
    return SnapshotFile(path="", sha256=first.restored.sha256, size=0, revision=0, made_by="")


def archives(spec: Spec, observed: Observed) -> dict[str, str]:
    """Return the suffix of the data from before the restore, by host. A host without such data is left out."""
    found = {}
    for host in spec.hosts:
        seen = observed.reachable().get(host.name)
        marker = seen.marker_of(spec.name) if seen else None
        if marker is None or marker.restored is None or not marker.restored.former:
            continue
        restored = marker.restored
        if restored.undoes and marker.is_being_restored:
            found[host.name] = restored.undoes
        elif restored.stage in ("placed", *SERVED):
            found[host.name] = restored.aside
    return found


def undo_archives(spec: Spec, observed: Observed) -> dict[str, str]:
    """Return the archives that `restore --undo` needs. When an undo is complete, it needs none."""
    return {} if _is_undone(spec, observed) else archives(spec, observed)


def _is_undone(spec: Spec, observed: Observed) -> bool:
    return any(restored.undoes and restored.stage == "done" for _, restored in _restored(spec, observed))


def archives_to_read(spec: Spec, observed: Observed) -> dict[str, str]:
    """Return the archives of the hosts that did not lose their data in an undo: such a host lost its archive too."""
    lost = {
        name for marker in begun_undo(spec, observed) for name in lost_hosts(spec, observed, marker.token)
    }
    return {name: suffix for name, suffix in archives(spec, observed).items() if name not in lost}


def refuse_undo_by_restore(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse an undo if a host is unreachable, has no archived data, or the restore was undone already.

    A host without archived data can be one on which the restore is not complete.
    """
    if gone := refuse_unreachable(observed):
        return gone
    if begun_undo(spec, observed):
        return _refuse_lost_archives(spec, observed)
    if _is_undone(spec, observed):
        hint = "run `etcdup restore` with a backup (`etcdup backup list`) to restore other data"
        message = f"the last restore of cluster {spec.name} was undone: there is nothing to undo"
        return (Refused(message, hint=hint),)
    there = archives(spec, observed)
    staged = {marker.member for marker, restored in _restored(spec, observed) if restored.stage == "staged"}
    return tuple(
        _refuse_incomplete_restore(host.name)
        if host.name in staged
        else refuse_host_without_archive(host.name)
        for host in spec.hosts
        if host.name not in there
    )


def _refuse_incomplete_restore(name: str) -> Refused:
    return Refused(
        f"the restore on {name} is not complete, so it cannot be undone yet",
        hint="run the interrupted command again, which resumes it: `etcdup restore` with the same snapshot and "
        "options, or `etcdup recover`. Then run `etcdup restore --undo` again",
        host=name,
        rules=(56, 57),
    )


def with_archives(observed: Observed, suffixes: Mapping[str, str]) -> Observed:
    """Return the observation with the archived data in place of the data of these hosts."""
    seen = observed.reachable()
    changed = {name: with_archived_data(seen[name], suffix) for name, suffix in suffixes.items()}
    return replace(observed, hosts={**observed.hosts, **changed})


def plan_archive_snapshot(
    spec: Spec, observed: Observed, logs: Mapping[str, LastEntry], snapshot: str, size: int
) -> Plan | Refusal:
    """Return the step that takes a snapshot of archived data. `size` is the bytes of a copy of that data.

    `logs` are the ends of the archived logs. By the rules of raft, the newest one has every committed entry.
    """
    host, suffixes = newest_log(logs), archives(spec, observed)
    if reasons := refuse_unreachable(observed) or refuse_salvage(
        with_archives(observed, suffixes), host, size
    ):
        return Refusal(spec.name, reasons)
    step = SalvageArchive(
        host=host, term=logs[host].term, index=logs[host].index, snapshot=snapshot, archive=suffixes[host],
        reason="it has the newest data from before the restore, and the restore of a snapshot can raise the revisions",
        rules=(58, 62),
    )  # fmt: skip
    note = (
        "no member is stopped in this part. An etcd on the host serves a copy of the archived data to etcdup only, "
        "and etcdup removes the copy. Then etcdup shows the plan of the undo"
    )
    return only_on_ready_hosts(Plan(spec.name, (step,), (note,)), spec, observed)


def _refuse_lost_archives(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    if archives_to_read(spec, observed):
        return ()
    message = (
        f"no host of cluster {spec.name} has data any more, neither that of the undo nor that from before it"
    )
    marker = layout_of(spec, spec.hosts[0]).marker
    hint = f"delete {marker} on each host, then restore a backup: `etcdup restore BACKUP`"
    return (Refused(message, hint=hint, rules=(56,)),)


def plan_undo_by_restore(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str, suffix: str, *, keep_leases: bool
) -> Plan | Refusal:
    """Return the steps that restore the snapshot of the archived data, or the reasons against them."""
    plan = plan_restore(
        spec, observed, snapshot, token, suffix, keep_leases=keep_leases, undoes=archives(spec, observed)
    )
    notes = (
        "the old data does not contain what was written after the restore; the restored data stays on each host, "
        "renamed to NAME.aside-TIME, and the archived data stays too",
        *((f"the snapshot of the old data is {snapshot.path}",) if snapshot.path else ()),
        *lease_notes(snapshot.leases, keep_leases=keep_leases),
        client_note(spec.version),
    )
    return replace(plan, notes=notes)


def _restored(spec: Spec, observed: Observed) -> list[tuple[Marker, Restored]]:
    hosts = map(observed.reachable().get, (host.name for host in spec.hosts))
    markers = [marker for seen in hosts if seen and (marker := seen.marker_of(spec.name))]
    return [(marker, marker.restored) for marker in markers if marker.restored]
