"""cluster.yaml, read and written: all that a verb needs which talks to no host."""

import os
from pathlib import Path

from etcdup.core.spec.load import load_bytes
from etcdup.core.spec.model import Spec
from etcdup.errors import UsageError
from etcdup.ops.files import write_file


def read_spec(path: Path) -> Spec:
    """The Spec in this file."""
    return load_bytes(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Raises UsageError where there is no such file, or none that may be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"there is no {path}", hint="`etcdup init` writes one; `-f FILE` names another"
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None


def replace_text(path: Path, before: str, after: str) -> None:
    """`after` in the place of `before`, whole or not at all: mode and owner stay, and so does a link to the file.

    Raises UsageError where the file is not `before` any more, or cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.read_bytes() != before.encode():
            raise UsageError(
                f"{path} was changed meanwhile; nothing was done", hint="look at it and try again"
            )
        was = target.stat()
        write_file(target, after.encode(), was.st_mode & 0o7777, owner=(was.st_uid, was.st_gid))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}; nothing was done") from None
