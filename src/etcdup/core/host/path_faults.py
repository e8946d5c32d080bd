"""What the paths of a member must be: no links, with free space, writable, and with programs that can run."""

from collections.abc import Iterator

from etcdup.core.host.host_case import HostCase
from etcdup.core.observed.directory import PathFault
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.plan import Refused

MIB = 1024**2
# etcd preallocates WAL files of 64 MiB, two of them at the start. The unpacked binaries need about 70 MiB.
DATA_SPACE = 256 * MIB
LOG_SPACE = 128 * MIB
BINARIES_SPACE = 128 * MIB
# Settings, certificates, the lock, and directories: much less than this.
FILES_SPACE = 1 * MIB
FILES = 64
# As stat and df report them.
LOST_AT_REBOOT = ("tmpfs", "ramfs")


def refuse_links(case: HostCase) -> Iterator[Refused]:
    """Refuse a data or log directory that is a link. A rename of the link would not archive the data."""
    for fault in case.seen.path_faults:
        if fault.kind == "link":
            yield Refused(
                f"{case.name}: {fault.path} is a link to {fault.detail}: a rename would archive the link, not the data",
                hint=f"set `etcd.{'data_dir' if fault.path == case.layout.data_dir else 'wal_dir'}` to {fault.detail} "
                f"in cluster.yaml. Or replace the link with a mount: if etcd does not run on {case.name}, run "
                f"`rm {fault.path} && mkdir {fault.path} && mount --bind {fault.detail} {fault.path}`, and write "
                f"`{fault.detail} {fault.path} none bind 0 0` into /etc/fstab",
                host=case.name,
            )


def lost_at_reboot_notes(seen: HostSeen) -> Iterator[str]:
    """Yield the directories of a new member whose content a reboot deletes."""
    for folder in filter(None, (seen.data, seen.wal)):
        if folder.filesystem in LOST_AT_REBOOT:
            yield (
                f"{seen.host}: {folder.path} is on {folder.filesystem}: a reboot deletes the data, and the member is "
                "lost"
            )


def refuse_wal_mount_point(case: HostCase) -> Iterator[Refused]:
    """Refuse a log directory that is a mount point and has no log yet. etcd renames this directory."""
    if case.seen.wal is None or not case.seen.wal.mount or case.seen.wal.has_wal:
        return
    yield Refused(
        f"{case.name}: {case.seen.wal.path} is a mount point, but etcd must be able to rename this directory",
        hint=f"set `etcd.wal_dir` to a directory on that disk, for example {case.seen.wal.path}/wal",
        host=case.name,
    )


def refuse_mounts(case: HostCase) -> Iterator[Refused]:
    """Refuse a host on which etcdup cannot write its files, or cannot run the programs of etcd."""
    if not case.seen.is_root:  # Another user cannot write any of these paths.
        return
    # A member that starts again writes only its data.
    data = (case.layout.data_dir, case.layout.wal_dir)
    for fault in case.seen.path_faults:
        is_written = case.seen.marker is None or fault.path in data
        if fault.kind == "unwritable" and is_written:
            yield _refused_unwritable(case.name, fault)
        elif fault.kind == "read-only" and is_written:
            yield Refused(
                f"{case.name}: {fault.path} cannot be written: a read-only file system is mounted on {fault.detail}",
                hint=f"run `dmesg | grep -iE 'error|remount'` on {case.name}: Linux mounts a disk with errors "
                f"read-only. Replace such a disk. Without errors, run `mount -o remount,rw {fault.detail}`",
                host=case.name,
            )
        elif fault.kind == "noexec":
            yield Refused(
                f"{case.name}: no program can run in {fault.path}: its file system is mounted with noexec",
                hint=f"run `mount -o remount,exec {fault.detail}` on {case.name}, or mount another file system on "
                f"{fault.path}",
                host=case.name,
            )


def _refused_unwritable(name: str, fault: PathFault) -> Refused:
    """Refuse a directory that root cannot write: it is immutable, or of a user that a container does not have."""
    place = "it" if fault.detail == fault.path else fault.detail
    return Refused(
        f"{name}: {fault.path} cannot be written: {place} is not writable for root, and its file system is",
        hint=f"run `lsattr -d {fault.detail}` on {name}: if it shows `i` or `a`, run `chattr -ia {fault.detail}`. In a "
        f"container, run `ls -ldn {fault.detail}`: if its owner is 65534, change the owner outside of the container",
        host=name,
    )


def refuse_other_kinds(case: HostCase) -> Iterator[Refused]:
    """Refuse a path where etcdup needs a directory or a link of its own, and something else is."""
    broken = case.layout.version_dir(str(case.spec.version))
    for fault in case.seen.path_faults:
        if fault.kind == "not-directory":
            message = f"{fault.detail} is not a directory, and etcdup needs the directory {fault.path}"
            name = fault.detail
        elif fault.kind == "not-link":
            message = f"{fault.path} is not a link, and etcdup needs a link with this name"
            name = fault.path
        elif fault.kind == "no-etcd" and fault.path == broken:
            message = f"{fault.path} has no program etcd, and etcdup installs etcd {case.spec.version} there"
            name = fault.path
        else:
            continue
        hint = f"run `mv {name} {name}.old` on {case.name} if you do not need it"
        yield Refused(f"{case.name}: {message}", hint=hint, host=case.name)


def refuse_full_disks(case: HostCase) -> Iterator[Refused]:
    """Refuse a file system without enough free space, or free inodes, for what etcdup and etcd write."""
    layout = case.layout
    needs = dict.fromkeys(case.seen.spaces, FILES_SPACE)
    needs |= {layout.versions: BINARIES_SPACE} if str(case.spec.version) not in case.seen.versions else {}
    free = {layout.versions: case.seen.opt_free_bytes}
    for folder, need in ((case.seen.data, DATA_SPACE), (case.seen.wal, LOG_SPACE)):
        if folder is not None:
            needs |= {folder.path: need} if not case.seen.has_member else {}
            free[folder.path] = folder.free_bytes
    free |= {path: space.free_bytes for path, space in case.seen.spaces.items()}
    cure = f"on {case.name}, or use a larger disk, then run `etcdup apply` again"
    for path, need in needs.items():
        if free[path] < need:
            yield Refused(
                f"{case.name}: {path} has {free[path] // MIB} MiB of free space, and etcdup needs {need // MIB} MiB",
                hint=f"free disk space {cure}",
                host=case.name,
                rules=(77, 93),
            )
    for path, space in case.seen.spaces.items():
        if space.free_inodes is not None and space.free_inodes < FILES:
            yield Refused(
                f"{case.name}: the file system of {path} has {space.free_inodes} free inodes, and etcdup needs {FILES}",
                hint=f"delete small files that you do not need, none in a directory of etcd, {cure}. "
                "`du --inodes -x -d 3 /` shows where they are",
                host=case.name,
                rules=(77, 93),
            )
