"""A member's disks, judged: their kind, their room, their speed, and how full the database is (rules 77, 91-93)."""

from collections.abc import Iterator

from etcdup.core.audit.findings import Disk, Evidence, Finding, HostInspection
from etcdup.core.audit.process_settings import number_of
from etcdup.core.observed.model import HostSeen
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import show_size

_LOST_AT_REBOOT = ("tmpfs", "ramfs")
# In the words of df and of stat, which has its own.
_UNFIT = (
    "nfs",
    "nfs4",
    "cifs",
    "smb2",
    "smb3",
    "fuseblk",
    "overlay",
    "overlayfs",
    "9p",
    "v9fs",
    "ceph",
    "glusterfs",
)
_SLOW_MS, _TOO_SLOW_MS = 10.0, 25.0
_LOG_SPACE = 5 * 64 * 1024**2  # rule 93: as many files of its log as etcd keeps
_NEARLY_FULL = 0.8  # rule 107


def disk_findings(
    spec: Spec, host: HostSpec, seen: HostSeen, closer: HostInspection | None
) -> Iterator[Finding]:
    """Of the data folder, and of the log's where it has one of its own: that is where etcd waits for the disk."""
    data, *log = disks_of(seen, closer)
    for disk in (data, *log):
        if not host.root:
            yield from _filesystem_findings(host.name, disk)
    quota = quota_of(spec, closer)
    if (need := quota * 5 // 2) > data.free_bytes:
        yield Finding(
            "advice", host.name, f"{data.path} has {show_size(data.free_bytes)} free",
            f"a full database of {show_size(quota)}, its defrag and its log can take {show_size(need)}",
            "a larger disk, or a smaller `quota`", (77, 93), code="data-disk-small",
        )  # fmt: skip
    for disk in log:
        if disk.mount != data.mount and disk.free_bytes < _LOG_SPACE:
            yield Finding(
                "advice", host.name, f"{disk.path} has {show_size(disk.free_bytes)} free",
                f"etcd's log can take {show_size(_LOG_SPACE)}, and a member that cannot write it stops",
                "a larger disk for the log", (93,), code="log-disk-small",
            )  # fmt: skip
    if closer is not None:
        yield from fsync_findings(host.name, closer)


def disks_of(seen: HostSeen, closer: HostInspection | None) -> tuple[Disk, ...]:
    """What the closer look tells, else what the probe does: the data folder's first."""
    if closer is not None and closer.disks:
        return closer.disks
    folders = (seen.data, *((seen.wal,) if seen.wal else ()))
    return tuple(Disk(folder.path, folder.filesystem, folder.free_bytes) for folder in folders)


def _filesystem_findings(host: str, disk: Disk) -> Iterator[Finding]:
    what, fix = f"{disk.path} is on {disk.filesystem}", "a local disk with ext4 or xfs"
    if disk.mount:
        what += f" ({disk.source}, mounted at {disk.mount})"
    if disk.filesystem in _LOST_AT_REBOOT:
        yield Finding(
            "wrong",
            host,
            what,
            "a reboot loses the member",
            f"give it {fix}",
            (92,),
            code="data-lost-at-reboot",
        )
    elif disk.filesystem in _UNFIT or disk.filesystem.startswith("fuse."):
        why = "etcd's log needs a local disk that keeps what it was told to keep"
        yield Finding("advice", host, what, why, f"give it {fix}", (92,), code="file-system-unfit")


def fsync_findings(host: str, closer: HostInspection) -> Iterator[Finding]:
    where = f" to {closer.disks[-1].path}" if closer.disks else ""
    if closer.writes_untried:
        yield Finding(
            "untried", host, f"small writes{where} were not timed: {closer.writes_untried}",
            "a test of the disk slows the member that lives on it",
            "look at etcd_disk_wal_fsync_duration_seconds in the member's metrics", (91,), code="writes-not-timed",
        )  # fmt: skip
    if not closer.fsyncs_ms:
        return
    p99 = sorted(closer.fsyncs_ms)[len(closer.fsyncs_ms) * 99 // 100 - 1]
    if p99 > _SLOW_MS:
        yield Finding(
            "wrong" if p99 > _TOO_SLOW_MS else "advice", host,
            f"99 of 100 small writes{where} take up to {p99:.1f} ms to the disk",
            "etcd acknowledges nothing before a quorum's disks have it; below 10 ms is good",
            "a faster disk: local SSD", (91,), code="disk-slow",
        )  # fmt: skip


def quota_of(spec: Spec, closer: HostInspection | None) -> int:
    """The running process's own; cluster.yaml's where none runs, or where it does not tell."""
    return number_of(closer.settings if closer else {}, "quota-backend-bytes", spec.etcd.quota)


def fullness_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Each database against the quota that its own process has."""
    for name, seen in evidence.observed.answering().items():
        quota = quota_of(spec, evidence.inspections.get(name))
        if 0 < _NEARLY_FULL * quota < seen.db_size:
            yield Finding(
                "advice", name, f"its database has {show_size(seen.db_size)} of {show_size(quota)}",
                "a full one takes no more writes", "compact and defragment, or raise `quota`", (107,),
                code="database-nearly-full",
            )  # fmt: skip
