"""Whether a restored cluster would accept writes: the alarms in the snapshot, and the quota of cluster.yaml.

A restored cluster has the alarms of its snapshot, and etcd does not compare the size of the file with the quota before
the first write. So both are checked before a member is stopped.
"""

from math import ceil

from etcdup.core.backups.backups import HASH_BYTES
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.core.etcd.alarms import CORRUPT, NOSPACE
from etcdup.core.members.space import has_space, is_out_of_space
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import DisarmSpaceAlarm
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
    """Return the step that disarms NOSPACE of the snapshot. `starts`: members are started before it."""
    if not _alarms(snapshot, NOSPACE) or not (starts or is_out_of_space(observed)):
        return ()
    reason = (
        f"the snapshot has the alarm NOSPACE, and its database has {show_size(database_size(snapshot))} of the quota "
        f"of {show_size(spec.etcd.quota)}"
    )
    return (DisarmSpaceAlarm(reason=reason, rules=(70,)),)


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
            "whether the snapshot has the right data. A restored cluster would refuse all requests",
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
