"""What the paths of a member must be: no links, on file systems that can be written, with programs that can run."""

from collections.abc import Iterator

from etcdup.core.observed.model import HostSeen
from etcdup.core.plan.plan import Refused


def refuse_links(seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse a data or log directory that is a link. A rename of the link would not archive the data."""
    return tuple(
        Refused(
            f"{seen.host}: {fault.path} is a link to {fault.detail}, and etcdup archives data by a rename",
            hint=f"set `etcd.data_dir` or `etcd.wal_dir` to {fault.detail} in cluster.yaml, or replace the link by a "
            f"mount: `mount --bind {fault.detail} {fault.path}`",
            host=seen.host,
        )
        for fault in seen.path_faults
        if fault.kind == "link"
    )


def refuse_mounts(seen: HostSeen) -> tuple[Refused, ...]:
    """Refuse a host on which etcdup cannot write its files, or cannot run the programs of etcd."""
    return tuple(_refused_mounts(seen))


def _refused_mounts(seen: HostSeen) -> Iterator[Refused]:
    if not seen.is_root:  # To another user, each of these paths looks read-only.
        return
    for fault in seen.path_faults:
        if fault.kind == "read-only":
            yield Refused(
                f"{seen.host}: {fault.path} cannot be written: {fault.detail} is on a read-only file system",
                hint=f"mount that file system writable on {seen.host}, for example with "
                f"`mount -o remount,rw {fault.detail}`",
                host=seen.host,
            )
        elif fault.kind == "noexec":
            yield Refused(
                f"{seen.host}: no program can run in {fault.path}: its file system is mounted with noexec",
                hint=f"mount another file system on {fault.path}, or run `mount -o remount,exec {fault.detail}`",
                host=seen.host,
            )
