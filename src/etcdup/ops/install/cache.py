"""Archives that were had before: `$ETCDUP_CACHE/archives`, else `~/.cache/etcdup/archives`.

Beside each archive lies its sha256, in sha256sum's own form; nothing is used before its hash was taken again.
Two etcdups may share the folder: files appear by rename, and long work is done under a flock.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from etcdup.core.spec.version import Version, parse_version
from etcdup.ops.files import lock, publish, remove_partial_files, write_file
from etcdup.ops.install.archive import BinaryArchive, archive_name, sha256_of

# A distribution's builds and an operator's own may carry patches: they never pass for upstream's (rule 44),
# so each origin has its own file name. The empty one is upstream's tarball.
Flavour = Literal["", "+go", "+package"]

_NAME = re.compile(r"etcd-v(\d+\.\d+\.\d+)-linux-([a-z0-9_]+)(?:\+go)?\.tar\.gz", re.ASCII)
_POLL_S = 0.2
ARCHIVE_MODE = 0o644


def cache_dir() -> Path:
    return Path(os.environ.get("ETCDUP_CACHE") or "~/.cache/etcdup").expanduser()


def archives_folder(cache: Path) -> Path:
    """The folder of archives, made if missing."""
    folder = cache / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def archive_path(cache: Path, version: Version, arch: str, flavour: Flavour = "") -> Path:
    return cache / "archives" / f"{archive_name(version, arch)}{flavour}.tar.gz"


def find_archive(
    path: Path, version: Version, arch: str, *, expected: str | None = None
) -> BinaryArchive | str:
    """The archive there, hashed just now, or why it cannot be used.

    `expected` is a checksum that somebody stands for; without it, the one beside the archive must match.
    """
    if not path.is_file():
        return f"{path} is not there"
    noted = expected or _read_checksum(path)
    if noted is None:
        return f"{path} has no checksum beside it"
    if (got := sha256_of(path)) != noted:
        return f"{path} is not what it should be: its sha256 is {got}, expected {noted}"
    return BinaryArchive(path, got, arch, version)


def store_archive(making: Path, path: Path, sha256: str) -> None:
    """Renames a finished archive into its place, then notes its checksum."""
    publish(making, path)
    write_file(_checksum_path(path), f"{sha256}  {path.name}\n".encode("ascii"), ARCHIVE_MODE)


@asynccontextmanager
async def archive_lock(path: Path, report: Callable[[str], None]) -> AsyncIterator[None]:
    """One etcdup at a time makes `path`. The kernel frees the lock when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as holder:
        waiting = False
        while not lock(holder.fileno(), wait=False):
            if not waiting:
                report(f"another etcdup is making {path.name}; waiting for it")
            waiting = True
            await asyncio.sleep(_POLL_S)
        remove_partial_files(path.parent, path.name)
        yield


def cached_versions(cache: Path, arch: str | None = None) -> list[Version]:
    """Versions that `from: auto` would take from the cache, newest first; of one architecture if given."""
    found = set()
    for path in (cache / "archives").glob("etcd-v*.tar.gz"):
        match = _NAME.fullmatch(path.name)
        if match and arch in (None, match[2]):
            found.add(parse_version(match[1]))
    return sorted(found, reverse=True)


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_checksum(path: Path) -> str | None:
    try:
        words = _checksum_path(path).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return words[0] if words else None
