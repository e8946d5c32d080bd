"""The files and directories of a host: data, rights, free space, and paths that etcdup cannot use."""

from dataclasses import dataclass
from datetime import datetime

# Archived data is named NAME.aside-TIME. On a mount point it is in a directory aside-TIME.
ASIDE_PREFIX = "aside-"


def aside_suffix(at: datetime) -> str:
    """Return the suffix `aside-TIME` of data that is archived at this time."""
    return f"{ASIDE_PREFIX}{at:%Y%m%dT%H%M%SZ}"


@dataclass(frozen=True)
class FileSeen:
    """A file on a host. `text` is set for files without secrets; of a key, only the sha256 is read."""

    path: str
    sha256: str
    mode: int
    owner: str
    text: str | None = None


@dataclass(frozen=True)
class DirSeen:
    """A data or WAL directory. `entries` are the names in it, or None if the directory does not exist.

    `has_wal` says that it contains a write-ahead log. Without one, etcd starts as a new member, even if other data
    exists.
    """

    path: str
    entries: tuple[str, ...] | None
    owner: str = ""
    mode: int = 0
    mount: bool = False
    filesystem: str = ""
    free_bytes: int = 0
    has_wal: bool = False

    @property
    def is_empty(self) -> bool:
        """Return True if the directory has no data, or does not exist.

        `lost+found` of a new file system does not count as data, nor does data that etcdup archived on a mount point.
        """
        return all(name == "lost+found" or name.startswith(ASIDE_PREFIX) for name in self.entries or ())


@dataclass(frozen=True)
class FolderSeen:
    """The mode and the owner of a directory that etcdup or etcd uses."""

    path: str
    mode: int
    owner: str


@dataclass(frozen=True)
class PathFault:
    """A path that etcdup cannot use as it is.

    Kinds: `link`: a data or log directory is a link, to `detail`. `read-only`, `noexec`: the mount point `detail` has
    this option, and the path is or will be below it. `unwritable`: root cannot write the directory `detail`, which is
    the path or above it, although its file system is writable. `foreign`: a program that etcdup did not make is at a
    path that etcdup uses. `not-directory`: the path must be a directory, and `detail`, which is the path or above it,
    is none. `not-link`: the path must be a link. `no-etcd`: a directory of a version has no program etcd. `root-user`,
    `shared-user`: user etcd has the UID 0, or that of the user `detail`. `locked`: there is no user etcd, and this file
    of users cannot be written. `file-limit`: the login may only write files of `path` blocks.
    """

    kind: str
    path: str
    detail: str = ""


@dataclass(frozen=True)
class Space:
    """What is free on the file system of a path. `free_inodes` is None if the file system has no limit of inodes."""

    free_bytes: int
    free_inodes: int | None = None
