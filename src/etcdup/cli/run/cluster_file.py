"""Read and write cluster.yaml."""

import os
from pathlib import Path

from etcdup.core.spec.load import load_bytes
from etcdup.core.spec.model import Spec
from etcdup.errors import UsageError
from etcdup.ops.files import write_file


def read_spec(path: Path) -> Spec:
    """Return the Spec of this file."""
    return load_bytes(read_bytes(path), str(path))


def chosen_hosts(spec: Spec, path: Path, name: str | None, more_hint: str = "") -> list[str]:
    """Return the host of this name; without a name, all hosts. Raise UsageError if the file has no such host.

    `more_hint` is a sentence for the hint of that error.
    """
    names = [host.name for host in spec.hosts]
    if name is None:
        return names
    if name not in names:
        hint = f"use one of its hosts: {', '.join(names)}"
        raise UsageError(f"{path} has no host {name}", hint=f"{hint}. {more_hint}" if more_hint else hint)
    return [name]


def read_bytes(path: Path) -> bytes:
    """Return the content. Raise UsageError if the file does not exist or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist",
            hint="run `etcdup init` to write it, or name another file with `-f FILE`",
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None


def replace_text(path: Path, before: str, after: str) -> None:
    """Replace the content `before` by `after` atomically. The mode, the owner and a symbolic link stay.

    Raise UsageError if the content is not `before` any more, or if the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.read_bytes() != before.encode():
            raise UsageError(
                f"another program changed {path}; nothing was done",
                hint="check the file and run the command again",
            )
        was = target.stat()
        write_file(target, after.encode(), was.st_mode & 0o7777, owner=(was.st_uid, was.st_gid))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}; nothing was done") from None


def path_in_file(path: Path, folder: Path) -> str:
    """Return an absolute path as cluster.yaml in this folder has it: relative, if it is below the folder."""
    near = os.path.relpath(path, folder)
    return str(path) if near.startswith("..") else f"./{near}"


def path_from_here(path: str, folder: Path) -> str:
    """Return a path of cluster.yaml, which is relative to its folder, as the operator types it in this directory."""
    here = Path.cwd()
    wanted = Path(path).expanduser()
    if wanted.is_absolute() or folder == here:
        return path
    near = os.path.relpath(folder / wanted, here)
    return str(folder / wanted) if near.startswith("../..") else near
