"""Files on the operator's machine: written whole or not at all, kept through a power cut, locked against a second run.

A file that is being written is named `.NAME.RANDOM.tmp`, next to its final name. A killed run leaves it behind;
`remove_partial_files` removes it.
"""

import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".tmp"
# What file systems without fsync for folders return: FAT, some network and FUSE file systems.
_NO_FOLDER_SYNC = frozenset({errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})


def write_file(path: Path, content: bytes, mode: int, *, owner: tuple[int, int] | None = None) -> None:
    """Replace the file in one step. A reader sees the old content or the new content, also after a power cut.

    `owner` is (uid, gid); without it the file belongs to the user that runs etcdup. Raises OSError.
    """
    with temporary_file(path, mode) as temporary:
        temporary.write_bytes(content)
        if owner is not None:
            os.chown(temporary, *owner)
        publish(temporary, path)


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Create the file in one step, durably. Raises FileExistsError if it exists already."""
    with temporary_file(path, mode) as temporary:
        temporary.write_bytes(content)
        sync_file(temporary)
        path.hardlink_to(temporary)
    sync_folder(path.parent)


def create_empty_file(path: Path, mode: int) -> int:
    """Create an empty file and return its descriptor. Raises FileExistsError if it exists already."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)


@contextmanager
def temporary_file(path: Path, mode: int) -> Iterator[Path]:
    """Create an empty file next to `path`, to be written and renamed. It is removed if it was not renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    temporary = Path(name)
    try:
        try:
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Rename a finished file to `path`. Its content is on the disk before the rename, and the new name after it."""
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


def remove_partial_files(folder: Path, pattern: str) -> None:
    """Remove the temporary files that a killed run left for names of this glob pattern. Call it under a lock only."""
    for left in folder.glob(f".{pattern}.*{TEMPORARY}"):
        left.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Return once the content of this file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Return once the names in this folder are on the disk, where the file system supports it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool) -> bool:
    """Take the exclusive flock of this open file. Return False if another process holds it and `wait` is False.

    The kernel releases the lock when the descriptor is closed or its process ends.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
