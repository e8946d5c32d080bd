"""A folder for what must not outlive the run: a decrypted backup, keys of a throw-away member.

Its owner holds a lock in it, which the kernel drops with him, however he ends. A folder of ours whose lock nobody
holds was left by a run that was killed: the next one that needs such a folder removes it.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from etcdup.ops.files import create_empty_file, lock

# The names of folders, and of the file in each that is locked: a folder without it is not known to be ours.
PREFIX = "etcdup-scratch-"
OWNER_FILE = ".etcdup-owned"


@contextmanager
def scratch_folder(what: str) -> Iterator[Path]:
    """Of mode 0700; gone at the end of the block."""
    remove_left_behind()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{what}-", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        owned = _lock_owner_file(folder)
        try:
            yield folder
        finally:
            os.close(owned)


def _lock_owner_file(folder: Path) -> int:
    """The file gets its name once it is locked: nobody ever sees it without its owner."""
    fresh = folder / f"{OWNER_FILE}.new"
    descriptor = create_empty_file(fresh, 0o600)
    lock(descriptor, wait=True)
    fresh.rename(folder / OWNER_FILE)
    return descriptor


def remove_left_behind() -> tuple[Path, ...]:
    """Folders whose owner was killed. What cannot be removed is left for the next run."""
    found = Path(tempfile.gettempdir()).glob(f"{PREFIX}*")
    return tuple(folder for folder in found if _is_ours(folder) and _remove_orphan(folder))


def _is_ours(folder: Path) -> bool:
    """A folder of this very user's, and no link to somewhere else."""
    try:
        seen = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and stat.S_IMODE(seen.st_mode) == 0o700


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
