"""Files of the PKI folder: written whole or not at all, by one etcdup at a time."""

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
    """Makes the folder if it is not there and holds it alone; frees itself when this process dies."""
    make_private_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        lock(descriptor, wait=True)
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
