"""Files of the PKI folder: written whole or not at all, by one etcdup at a time."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etcdup.core.certs.required import Fault
from etcdup.errors import PkiError

FOLDER_MODE = 0o700
KEY_MODE = 0o600
CERT_MODE = 0o644
_TEMPORARY = ".tmp"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Makes the folder if it is not there and holds it alone; frees itself when this process dies."""
    make_private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    except OSError as error:
        raise PkiError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Makes the folder, or takes it, for its owner alone."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise PkiError(f"{folder} cannot be made: {error.strerror}") from None


def remove_partial_files(folder: Path) -> None:
    """Removes what a killed run left half written: it may be a key. Only under the lock."""
    for left in folder.glob(f".*.pem.*{_TEMPORARY}"):
        left.unlink(missing_ok=True)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replaces the file in one step; a reader sees the old content or the new."""
    temporary = _write_temporary(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def create_file(path: Path, content: bytes, mode: int) -> None:
    """Makes the file in one step and for good; FileExistsError if it is there already."""
    temporary = _write_temporary(path, content, mode)
    try:
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Returns once the names in this folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def exposure_faults(key: Path) -> list[Fault]:
    """A warning if anybody but its owner (or a group that may only read it) can get at a key file."""
    try:
        mode = key.stat().st_mode & 0o777
    except OSError:
        return []
    if not mode & 0o037:
        return []
    return [Fault(str(key), f"is open to others (mode {mode:04o})", f"`chmod 0600 {key}`", is_warning=True)]


def restrict_to_owner(key: Path) -> bool:
    """Whether the key is its owner's alone now. What a link leads to, or another user's file, is not ours to change."""
    if key.is_symlink():
        return False
    try:
        key.chmod(KEY_MODE)
    except OSError:
        return False
    return True


def _write_temporary(path: Path, content: bytes, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    return Path(name)
