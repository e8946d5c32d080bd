"""The cache of archives: `$ETCDUP_CACHE/archives`, or `~/.cache/etcdup/archives`.

The sha256 of each archive is in a file next to it, in the format of sha256sum. It is verified before each use.
Several etcdup processes may share the folder: files appear by rename, and archives are made under a flock.
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from etcdup.core.spec.version import Version, parse_version
from etcdup.ops.files import lock, publish, remove_partial_files, write_file
from etcdup.ops.install.archive import BinaryArchive, archive_name, sha256_of
from etcdup.ops.install.pins import load_pins

# Builds of a distribution or of the operator may contain patches and must not be taken for upstream's (rule 44).
# Therefore each origin has its own file name. The empty flavour is the upstream tarball.
Flavour = Literal["", "+go", "+package"]

_NAME = re.compile(r"etcd-v(\d+\.\d+\.\d+)-linux-([a-z0-9_]+)(\+go)?\.tar\.gz", re.ASCII)
_POLL_S = 0.2
ARCHIVE_MODE = 0o644


def cache_dir() -> Path:
    return Path(os.environ.get("ETCDUP_CACHE") or "~/.cache/etcdup").expanduser()


def archives_folder(cache: Path) -> Path:
    """Return the folder of archives. It is created if it is missing."""
    folder = cache / "archives"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def archive_path(cache: Path, version: Version, arch: str, flavour: Flavour = "") -> Path:
    return cache / "archives" / f"{archive_name(version, arch)}{flavour}.tar.gz"


def find_archive(
    path: Path, version: Version, arch: str, *, expected: str | None = None
) -> BinaryArchive | str:
    """Return the archive after verifying its checksum, or the reason why it is not usable.

    `expected` is a trusted checksum. Without it, the checksum in the file next to the archive must match.
    """
    if not path.is_file():
        return f"{path} does not exist"
    noted = expected or _read_checksum(path)
    if noted is None:
        return f"{path} has no file with its checksum next to it"
    if (got := sha256_of(path)) != noted:
        return f"{path} has another content than expected: its sha256 is {got}, expected {noted}"
    return BinaryArchive(path, got, arch, version)


def find_trusted(
    cache: Path, version: Version, arch: str, flavour: Flavour, sums: Mapping[str, str]
) -> BinaryArchive | str:
    """Return the archive of this flavour, or the reason why it is not usable.

    A tarball of upstream must have its checksum in `sums`. The other flavours were made on this machine.
    """
    path = archive_path(cache, version, arch, flavour)
    if flavour:
        return find_archive(path, version, arch)
    if arch not in sums:
        return f"{path} cannot be compared with a trusted checksum"
    return find_archive(path, version, arch, expected=sums[arch])


def store_archive(temporary: Path, path: Path, sha256: str) -> None:
    """Rename a finished archive to its final name, then write its checksum."""
    publish(temporary, path)
    write_file(_checksum_path(path), f"{sha256}  {path.name}\n".encode("ascii"), ARCHIVE_MODE)


@asynccontextmanager
async def archive_lock(path: Path, report: Callable[[str], None]) -> AsyncIterator[None]:
    """Wait until no other etcdup makes `path`, and lock it. The kernel releases the lock when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as holder:
        waiting = False
        while not lock(holder.fileno(), wait=False):
            if not waiting:
                report(f"waiting for another etcdup, which is making {path.name}")
            waiting = True
            await asyncio.sleep(_POLL_S)
        remove_partial_files(path.parent, path.name)
        yield


def cached_versions(cache: Path, arch: str | None = None) -> list[Version]:
    """Return the versions that `from: auto` can use from the cache, newest first. `arch` selects an architecture.

    These are releases whose checksum is pinned, and builds of this machine.
    """
    found = set()
    for path in (cache / "archives").glob("etcd-v*.tar.gz"):
        match = _NAME.fullmatch(path.name)
        if match and arch in (None, match[2]):
            version = parse_version(match[1])
            if match[3] or match[2] in load_pins().get(version, {}):
                found.add(version)
    return sorted(found, reverse=True)


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _read_checksum(path: Path) -> str | None:
    try:
        words = _checksum_path(path).read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return words[0] if words else None
