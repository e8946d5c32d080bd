"""Rules for the directories of members: data_dir and wal_dir."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from etcdup.core.spec.host_rules import Mistake, is_within
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.core.spec.yaml_document import Loc

# Directories of the system. A member's data may be below one of them, but may not be the directory itself, because
# etcdup archives data by a rename of its directory.
_SHARED = frozenset(
    ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib")  # noqa: S108
)
# Directories that may not contain a member's data: system directories, and those that a reboot empties.
_FORBIDDEN = (
    *(
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib64",
        "/proc",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var/run",
    ),
    "/opt/etcd",  # the binaries of etcd
)
# Directories that the unit of etcd hides from it: ProtectHome= and PrivateTmp= of core/host/unit.py.
_HIDDEN = ("/home", "/root", "/tmp", "/var/tmp")  # noqa: S108


def folder_mistakes(spec: Spec) -> Iterator[Mistake]:
    """etcdup archives data by a rename of its directory. So the directory contains nothing else and is not shared."""
    for key in ("data_dir", "wal_dir"):
        yield from _folder(("etcd", key), getattr(spec.etcd, key), hidden=_has_unit(spec.hosts))
    yield from _two_folders(("etcd", "wal_dir"), ("etcd", "data_dir"), spec.etcd.wal_dir, spec.etcd.data_dir)
    for index, host in enumerate(spec.hosts):
        at = {
            key: ("hosts", index, key) if getattr(host, key) else ("etcd", key)
            for key in ("data_dir", "wal_dir")
        }
        for key in ("data_dir", "wal_dir"):
            yield from _folder(("hosts", index, key), getattr(host, key), hidden=_has_unit([host]))
        if host.data_dir or host.wal_dir:
            own, other = ("wal_dir", "data_dir") if host.wal_dir else ("data_dir", "wal_dir")
            yield from _two_folders(at[own], at[other], spec.wal_dir(host), spec.data_dir(host))


def _folder(at: Loc, folder: str | None, *, hidden: bool) -> Iterator[Mistake]:
    key = at[-1]
    if folder is not None and is_system_folder(folder):
        hint = f"set `{key}` to a directory that is only for etcd, for example /var/lib/etcd"
        yield Mistake((at,), f"`{key}` cannot be {folder}: the system uses this directory", hint)
    elif folder is not None and hidden and any(is_within(folder, each) for each in _HIDDEN):
        message = (
            f"`{key}` cannot be {folder}: the unit of etcd has no access to home and temporary directories"
        )
        yield Mistake((at,), message, f"set `{key}` to another directory, for example /var/lib/etcd")


def _two_folders(at: Loc, other: Loc, wal_dir: str | None, data_dir: str) -> Iterator[Mistake]:
    """`at` is the key whose position is reported."""
    if wal_dir is None:
        return
    if wal_dir == data_dir:
        message = f"`wal_dir` and `data_dir` are both {data_dir}"
        yield Mistake((at, other), message, "remove `wal_dir`, or set it to another directory")
    elif is_within(wal_dir, data_dir) or is_within(data_dir, wal_dir):
        message = f"`wal_dir` ({wal_dir}) and `data_dir` ({data_dir}): one is inside the other"
        yield Mistake((at, other), message, "use separate directories, or remove `wal_dir`")
    elif is_system_folder(parent := str(PurePosixPath(wal_dir).parent)) and not is_system_folder(wal_dir):
        if at[-1] != "wal_dir" and at[0] == "hosts":
            return  # It is reported at the key that has this value.
        message = f"`wal_dir` cannot be {wal_dir}: etcd must rename it within {parent}, which the system uses"
        hint = f"set `wal_dir` to {wal_dir}/wal; if the log has a disk of its own, mount it on {wal_dir}"
        yield Mistake((at,), message, hint)


def is_system_folder(folder: str) -> bool:
    """Return whether the system uses this directory, so that it cannot contain only the data of a member."""
    return folder in _SHARED or any(is_within(folder, system) for system in _FORBIDDEN)


def _has_unit(hosts: Iterable[HostSpec]) -> bool:
    """Return whether one of these members has a unit, which hides directories from it. A local member has none."""
    return any(not host.root for host in hosts)
