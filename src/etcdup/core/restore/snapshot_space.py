"""Whether a restored cluster accepts writes: the alarms in the snapshot, and the quota of cluster.yaml.

A restored cluster has the alarms of its snapshot, and etcd does not compare the size of the file with the quota before
the first write. So both are checked before a member is stopped.

The last steps of a restore need a write. If it was interrupted before them, clients may have used up the quota by then.
"""

from collections.abc import Iterator
from math import ceil

from etcdup.core.backups.backups import HASH_BYTES
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.alarms import CORRUPT, NOSPACE
from etcdup.core.members.quorum import healthy, quorum_of, voter_count
from etcdup.core.members.rolling_restart import restart_order
from etcdup.core.members.space import (
    fits_cluster_file,
    full_members,
    has_space,
    is_out_of_space,
    running_quota,
)
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DisarmSpaceAlarm
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import StopMembers
from etcdup.core.plan.step import Step
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_size

_GIB = 1024**3
# A database grows after the restore, too.
_GROWTH = 1.25


def refuse_read_only(spec: Spec, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    """Refuse a snapshot whose restored cluster would refuse writes, or all requests (rules 70, 82)."""
    return (*_refuse_corrupt(snapshot), *_refuse_large(spec, snapshot))


def space_note(spec: Spec, snapshot: SnapshotFile) -> tuple[str, ...]:
    """Return that the snapshot has the alarm NOSPACE, which etcdup disarms."""
    if not _alarms(snapshot, NOSPACE):
        return ()
    return (
        f"the snapshot has the alarm NOSPACE: its cluster refused writes. The database has "
        f"{show_size(database_size(snapshot))} of the quota of {show_size(spec.etcd.quota)}, so etcdup disarms the "
        "alarm when the restored members run",
    )


def disarm_restored(
    spec: Spec, observed: Observed, snapshot: SnapshotFile, *, starts: bool
) -> tuple[Step, ...]:
    """Return the step that disarms NOSPACE of the snapshot, or of the running restored members.

    `starts`: members are started before it. Without a start, `refuse_full_restored` has refused full databases.
    """
    if not starts and is_out_of_space(observed):
        quota = show_size(spec.etcd.quota)
        reason = f"NOSPACE is active, and each database has space in the quota of {quota} of cluster.yaml"
        return (DisarmSpaceAlarm(reason=reason, rules=(70,)),)
    if not starts or not _alarms(snapshot, NOSPACE):
        return ()
    reason = (
        f"the snapshot has the alarm NOSPACE, and its database has {show_size(database_size(snapshot))} of the quota "
        f"of {show_size(spec.etcd.quota)}"
    )
    return (DisarmSpaceAlarm(reason=reason, rules=(70,)),)


def refuse_full_restored(spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Refuse to continue a restore whose members serve clients, and whose databases are full (rule 70).

    Its next step would write a key, which etcd refuses.
    """
    if not is_out_of_space(observed) or fits_cluster_file(spec, observed):
        return ()
    full = ", ".join(full_members(spec, observed)) or "a member that does not answer"
    largest = max(seen.db_size for seen in observed.answering().values())
    return (
        Refused(
            f"the restored members serve clients, and refuse writes: the database of {full} is full. The restore ends "
            "with a write",
            hint="run `etcdup maintain fix-space`, then run the same command again. Or write "
            f"`quota: {ceil(largest * _GROWTH / _GIB)}GiB` below `etcd:` in cluster.yaml, and run the same command "
            "again, which restarts the members with it",
            rules=(70, 77),
        ),
    )


def larger_quota_steps(spec: Spec, observed: Observed, names: tuple[str, ...]) -> Iterator[Step]:
    """Yield the restarts that give full members of a restore the quota of cluster.yaml. Their files have it already.

    They restart one after the other. If the others are no quorum, because a host is lost, all of them stop, and the
    restore starts them together: etcd refuses writes until then anyway.
    """
    small = [name for name in names if is_quota_too_small(spec, observed, name)]
    if not is_out_of_space(observed) or not small:
        return
    reason = f"its database is full, and `quota` in cluster.yaml is {show_size(spec.etcd.quota)}"
    voting = voter_count(observed)
    if voting > 1 and len(healthy(observed)) - 1 < quorum_of(voting):
        quorum = "no member serves clients after this step"
        yield StopMembers(hosts=tuple(small), reason=reason, rules=(70, 77), quorum=quorum)
        return
    for name in restart_order(small, observed):
        yield RestartMember(host=name, version=str(spec.version), reason=reason, rules=(38, 70))


def is_quota_too_small(spec: Spec, observed: Observed, name: str) -> bool:
    """Return whether a running member has no space in the quota of its process, and has with that of cluster.yaml."""
    seen, quota = observed.answering().get(name), running_quota(observed, name)
    if seen is None or quota is None:
        return False
    return not has_space(seen.db_size, quota) and has_space(seen.db_size, spec.etcd.quota)


def database_size(snapshot: SnapshotFile) -> int:
    """Return the size of the database of a restored member. The file also has a checksum at its end."""
    return max(snapshot.size - HASH_BYTES, 0)


def _refuse_corrupt(snapshot: SnapshotFile) -> tuple[Refused, ...]:
    alarms = _alarms(snapshot, CORRUPT)
    if not alarms:
        return ()
    return (
        Refused(
            f"the snapshot has the alarm {', '.join(alarms)}: the data of its members differed, and it is unknown "
            "whether the snapshot has the right data. A restored cluster would refuse all writes",
            hint="restore a backup that was taken before the alarm: `etcdup backup list`. If you know that the data "
            "of this snapshot is right, `etcdup backup compact BACKUP --without-alarms --out FILE` writes it without "
            "the alarm; then restore FILE",
            rules=(82,),
        ),
    )


def _refuse_large(spec: Spec, snapshot: SnapshotFile) -> tuple[Refused, ...]:
    size, quota = database_size(snapshot), spec.etcd.quota
    if has_space(size, quota):
        return ()
    alarm = "the snapshot has the alarm NOSPACE, and " if _alarms(snapshot, NOSPACE) else ""
    return (
        Refused(
            f"{alarm}the database of the snapshot has {show_size(size)}, and `quota` in cluster.yaml is "
            f"{show_size(quota)}: the restored cluster would refuse writes",
            hint=f"write `quota: {ceil(size * _GROWTH / _GIB)}GiB` below `etcd:` in cluster.yaml, then run the same "
            "command again. If `etcdup maintain space BACKUP` shows that much of the file is free, `etcdup backup "
            "compact BACKUP --out FILE` writes a smaller file, which you can restore instead",
            rules=(70, 77),
        ),
    )


def _alarms(snapshot: SnapshotFile, kind: str) -> tuple[str, ...]:
    return tuple(alarm for alarm in snapshot.alarms if alarm.startswith(kind))
