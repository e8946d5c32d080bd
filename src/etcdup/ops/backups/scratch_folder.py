"""A folder for data that must not remain after the run: a decrypted backup, the keys of a temporary member.

The run holds a lock on a file in it, which the kernel releases when the process ends. A scratch folder without a held
lock is left over from a run that was killed. The next run that needs such a folder removes it.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from etcdup.ops.files import create_empty_file, lock

# The prefix of folder names, and the name of the locked file in each. A folder without this file is never removed.
PREFIX = "etcdup-scratch-"
OWNER_FILE = ".etcdup-owned"


@contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """Create a folder with mode 0700, and remove it at the end of the block."""
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{what}-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        owned = _lock_owner_file(folder)
        try:
            yield folder
        finally:
            os.close(owned)


def _lock_owner_file(folder: Path) -> int:
    """Create and lock the owner file. It is renamed after it is locked, so no process sees it without a lock."""
    fresh = folder / f"{OWNER_FILE}.new"
    descriptor = create_empty_file(fresh, 0o600)
    lock(descriptor, wait=True)
    fresh.rename(folder / OWNER_FILE)
    return descriptor


def remove_left_behind() -> tuple[Path, ...]:
    """Remove the folders of killed runs and return them. The next run tries again those that cannot be removed."""
    found = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    return tuple(folder for folder in found if _is_ours(folder) and _remove_orphan(folder))


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder (not a link) with mode 0700 that belongs to this user."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    mode = found.st_mode
    return stat.S_ISDIR(mode) and found.st_uid == os.geteuid() and stat.S_IMODE(mode) == 0o700


def _remove_orphan(folder: Path) -> bool:
    with suppress(OSError):
        descriptor = os.open(folder / OWNER_FILE, os.O_RDWR | os.O_NOFOLLOW)
        try:
            if lock(descriptor, wait=False):
                shutil.rmtree(folder)
                return True
        finally:
            os.close(descriptor)
    return False
