"""The PKI folder: its lock, and the modes of the files in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from etcdup.core.certs.required import Fault
from etcdup.errors import PkiError
from etcdup.ops.files import lock

FOLDER_MODE = 0o700
KEY_MODE = 0o600
CERT_MODE = 0o644


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder for this process, and create it if it is missing. The kernel releases the lock when it dies."""
    make_private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(descriptor, wait=True)
        yield
    except OSError as error:
        raise PkiError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def make_private_folder(folder: Path) -> None:
    """Create the folder if it is missing, and set its mode to 0700."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise PkiError(f"cannot create {folder}: {error.strerror}") from None


def exposure_faults(key: Path) -> list[Fault]:
    """Return a warning if users other than the owner can access a key file. A group may have read access."""
    try:
        mode = key.stat().st_mode & 0o777
    except OSError:
        return []
    if not mode & 0o037:
        return []
    what = f"is accessible to other users (mode {mode:04o})"
    return [Fault(str(key), what, f"run `chmod 0600 {key}`", is_warning=True)]


def restrict_to_owner(key: Path) -> bool:
    """Set the mode of the key to 0600. Return False for a link and for a file of another user: they stay unchanged."""
    if key.is_symlink():
        return False
    try:
        key.chmod(KEY_MODE)
    except OSError:
        return False
    return True
