"""What forbids a restore: unreachable hosts, an unfinished attempt, a newer snapshot, too little disk space."""

from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.certs.trust import refuse_other_ca
from etcdup.core.members.bootstrap import forget_host_command, refuse_join, refuse_prepare
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.member_list import member_list, name_of
from etcdup.core.members.quorum import refuse_unmounted
from etcdup.core.observed.host import HostSeen, Unreachable
from etcdup.core.observed.marker import Marker, Restored
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.restore.attempt import own_markers
from etcdup.core.restore.lost_hosts import (
    hosts_with_other_list,
    left_out,
    lost_hosts,
    must_prepare_again,
    stage_of,
)
from etcdup.core.restore.snapshot_space import refuse_read_only
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import show_size
from etcdup.core.spec.version import parse_version

# etcd preallocates its write-ahead log in files of 64 MiB.
WAL_SPACE = 256 * 1024**2


def refuse_denied(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to begin a restore that etcd would stop at its end. One that has begun is finished."""
    begun = any(marker.is_being_restored for marker in own_markers(spec, observed))
    return () if begun else refuse_without_access(spec, observed)


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


def refuse_restore(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, token: str, *, is_undo: bool
) -> tuple[Refused, ...]:
    """Refuse a restore that a host, the certificates or the snapshot forbid."""
    reasons = [_refuse_unreachable(spec, gone, observed) for gone in observed.unreachable().values()]
    reasons += [*refuse_stale_pki(spec, observed), *_refuse_newer_snapshot(spec, snapshot)]
    reasons += refuse_read_only(spec, snapshot)
    if must_prepare_again(spec, observed, token):
        lost = lost_hosts(spec, observed, token)
        others = hosts_with_other_list(spec, observed, token)
        reasons.append(
            Refused(
                f"{', '.join(lost)} has no restored data any more, and other members may have started with theirs"
                if lost
                else f"the restored data on {', '.join(others)} has another member list than cluster.yaml",
                hint="run the same command again: it prepares all hosts again, with a new token",
                host=(lost or others)[0],
                rules=(32,) if lost else (5,),
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
    return (
        *fresh,
        *refuse_other_ca(spec, seen, observed),
        *_refuse_other_attempt(host, seen, snapshot, token, is_undo=is_undo),
        *_refuse_space(host, seen, snapshot, token),
    )


def _refuse_other_attempt(
    host: HostSpec, seen: HostSeen, snapshot: SnapshotFile, token: str, *, is_undo: bool
) -> tuple[Refused, ...]:
    if stage_of(seen, token) == "undo":
        message = f"the undo of the last restore on {host.name} is not complete"
        hint = "complete the undo first: run `etcdup restore --undo`, which resumes it"
        return (Refused(message, hint, host.name),)
    other = None if is_undo else _unfinished_restore(seen.marker, snapshot)
    if other is None:
        return ()
    hint = (
        "run `etcdup restore --undo` again, which resumes it"
        if other.undoes
        else "run the interrupted command again, which resumes it: `etcdup restore` with the same snapshot and "
        "options, or `etcdup recover`. `etcdup history` shows which command began it on this machine, and "
        "`etcdup backup list --json` shows the sha256 of each backup"
    )
    message = f"{host.name} has an unfinished restore of another file (sha256 {other.sha256[:12]})"
    return (Refused(message, hint, host.name),)


def _refuse_space(host: HostSpec, seen: HostSeen, snapshot: SnapshotFile, token: str) -> tuple[Refused, ...]:
    need, data = space_needed(snapshot), seen.data
    if stage_of(seen, token) or data.free_bytes >= need:
        return ()
    message = (
        f"{host.name}: {data.path} has {show_size(data.free_bytes)} of free space, and the snapshot and the restored "
        f"data need {show_size(need)}"
    )
    hint = (
        f"free disk space on {host.name}, or use a larger disk, then run the same command again. The old data stays "
        "on the disk, next to the restored data"
    )
    return (Refused(message, hint, host.name),)


def _unfinished_restore(marker: Marker | None, snapshot: SnapshotFile) -> Restored | None:
    """Return the restore of another file that is in progress, or None."""
    if marker is None or marker.restored is None or not marker.is_being_restored:
        return None
    return marker.restored if marker.restored.sha256 != snapshot.sha256 else None


def space_needed(snapshot: SnapshotFile) -> int:
    """Return the bytes that a host needs for the snapshot file and the data restored from it."""
    return 2 * snapshot.size + WAL_SPACE
