"""Findings about the disks of a member: file system, free space, speed, size of the database (rules 77, 91-93)."""

from collections.abc import Iterator

from etcdup.core.audit.findings import Disk, Evidence, Finding, HostInspection
from etcdup.core.audit.growth import fragmentation_finding, quota_of
from etcdup.core.host.path_faults import LOST_AT_REBOOT
from etcdup.core.members.space import LITTLE_FREE, MUCH_IN_USE, NEARLY_FULL, reclaimable
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.units import show_size

# Names of file systems as df reports them, and as stat reports them.
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
_LOG_SPACE = 5 * 64 * 1024**2  # Rule 93: etcd keeps 5 WAL files of 64 MiB.


def disk_findings(
    spec: Spec, host: HostSpec, seen: HostSeen, inspection: HostInspection | None
) -> Iterator[Finding]:
    """Check the disk of the data directory, and the disk of the WAL directory if there is one.

    etcd waits for the disk of its log at each write.
    """
    data, *log = disks_of(seen, inspection)
    for disk in (data, *log):
        if not host.root:
            yield from _filesystem_findings(host.name, disk)
    if inspection is not None:
        for path in inspection.fast_commits:
            yield _fast_commit_finding(host.name, path)
    quota = quota_of(spec, inspection)
    if (need := quota * 5 // 2) > data.free_bytes:
        yield Finding(
            "advice",
            host.name,
            f"{data.path} has {show_size(data.free_bytes)} of free space.",
            f"A full database of {show_size(quota)}, its defragmentation and its log can use {show_size(need)}.",
            "Use a larger disk, or set a smaller `quota` in cluster.yaml and run `etcdup apply`.",
            (77, 93),
            code="data-disk-small",
        )
    for disk in log:
        if disk.mount != data.mount and disk.free_bytes < _LOG_SPACE:
            yield Finding(
                "advice",
                host.name,
                f"{disk.path} has {show_size(disk.free_bytes)} of free space.",
                f"The log of etcd can use {show_size(_LOG_SPACE)}. A member that cannot write its log stops.",
                "Use a larger disk for the log.",
                (93,),
                code="log-disk-small",
            )
    if inspection is not None:
        yield from fsync_findings(host.name, inspection)


def disks_of(seen: HostSeen, inspection: HostInspection | None) -> tuple[Disk, ...]:
    """Return the disks that the inspection found; without an inspection, those of the probe. The data disk is first."""
    if inspection is not None and inspection.disks:
        return inspection.disks
    folders = (seen.data, *((seen.wal,) if seen.wal else ()))
    return tuple(Disk(folder.path, folder.filesystem, folder.free_bytes) for folder in folders)


def _filesystem_findings(host: str, disk: Disk) -> Iterator[Finding]:
    what, fix = f"{disk.path} is on {disk.filesystem}", "Use a local disk with ext4 or xfs."
    if disk.mount:
        what += f" ({disk.source}, mounted at {disk.mount})"
    what += "."
    if disk.filesystem in LOST_AT_REBOOT:
        yield Finding(
            "wrong",
            host,
            what,
            "A reboot deletes the data, and the member is lost.",
            fix,
            (92,),
            code="data-lost-at-reboot",
        )
    elif disk.filesystem in _UNFIT or disk.filesystem.startswith("fuse."):
        why = "Such a file system can be slow, or can confirm a write that it has not stored."
        yield Finding("advice", host, what, why, fix, (92,), code="file-system-unfit")


def _fast_commit_finding(host: str, path: str) -> Finding:
    """Report a kernel that loses writes of bbolt after a power cut (https://github.com/etcd-io/bbolt/issues/562)."""
    return Finding(
        "wrong",
        host,
        f"{path} is on ext4 with the feature fast_commit, and the kernel is older than 5.17.",
        "After a power cut the database can be damaged.",
        "Upgrade the kernel, or remove the feature with `tune2fs -O ^fast_commit` from the file system while it is not "
        "mounted.",
        (92,),
        code="file-system-fast-commit",
    )


def fsync_findings(host: str, inspection: HostInspection) -> Iterator[Finding]:
    where = f" to {inspection.disks[-1].path}" if inspection.disks else ""
    if inspection.writes_untried:
        yield Finding(
            "untried",
            host,
            f"Small writes{where} were not timed: {inspection.writes_untried}.",
            "A measurement slows down a member on the same disk.",
            "Read `etcd_disk_wal_fsync_duration_seconds` in the metrics of the member.",
            (91,),
            code="writes-not-timed",
        )
    if not inspection.fsyncs_ms:
        return
    p99 = sorted(inspection.fsyncs_ms)[len(inspection.fsyncs_ms) * 99 // 100 - 1]
    if p99 > _SLOW_MS:
        yield Finding(
            "wrong" if p99 > _TOO_SLOW_MS else "advice",
            host,
            f"Small writes{where} take {p99:.1f} ms to reach the disk (99th percentile).",
            "etcd acknowledges a write only after the disks of a quorum have it. Below 10 ms is good.",
            "Use a faster disk: a local SSD.",
            (91,),
            code="disk-slow",
        )


def fullness_findings(spec: Spec, evidence: Evidence) -> Iterator[Finding]:
    """Compare the size of each database, and of its data, with the quota of its own process (rules 75, 107)."""
    for name, seen in evidence.observed.answering().items():
        quota = quota_of(spec, evidence.inspections.get(name), seen)
        if quota <= 0:
            continue
        if seen.db_size > NEARLY_FULL * quota:
            yield Finding(
                "advice",
                name,
                f"The database of {name} uses {show_size(seen.db_size)} of its quota of {show_size(quota)}.",
                "A member with a full database raises NOSPACE, and the cluster refuses writes.",
                _free_space_fix(reclaimable(seen)),
                (107,),
                code="database-nearly-full",
            )
        elif found := fragmentation_finding(name, seen, quota, evidence):
            yield found
        if seen.db_in_use > MUCH_IN_USE * quota:
            yield Finding(
                "advice",
                name,
                f"The data of {name} needs {show_size(seen.db_in_use)} of its quota of {show_size(quota)}.",
                "A defragmentation cannot free this space.",
                "Run `etcdup maintain space --live` to find out which keys grow. Near the quota, `etcdup maintain "
                "fix-space` removes the history. Otherwise delete keys, or raise `quota` in cluster.yaml and run "
                "`etcdup apply`.",
                (107,),
                code="database-in-use-high",
            )


def _free_space_fix(free: int) -> str:
    if free >= LITTLE_FREE:
        return f"Run `etcdup maintain defrag`, which frees {show_size(free)}."
    return (
        "Run `etcdup maintain fix-space`: it frees space without deleting a key, or says which `quota` helps."
    )
