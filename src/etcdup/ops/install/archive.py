"""An archive of one version for one architecture, and how one is packed."""

import gzip
import hashlib
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from etcdup.core.host.packages import tools_of
from etcdup.core.spec.version import Version

_CHUNK = 1024 * 1024


@dataclass(frozen=True)
class BinaryArchive:
    """A .tar.gz with `tools_of(version)` in its one top folder: to be unpacked with --strip-components=1."""

    path: Path
    sha256: str
    arch: str
    version: Version


def archive_name(version: Version, arch: str) -> str:
    """Upstream's name, without .tar.gz; the top folder inside is called the same."""
    return f"etcd-v{version}-linux-{arch}"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(tools: Mapping[str, Path], version: Version, arch: str, target: Path, *, level: int) -> str:
    """Writes `tools` (name -> program) as an archive and returns its sha256. Same in, same out."""
    top = archive_name(version, arch)
    with (
        target.open("wb") as file,
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=level, mtime=0, filename="") as stream,
        tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        tar.addfile(_entry(top, 0, tarfile.DIRTYPE))
        for name in tools_of(version):
            with tools[name].open("rb") as program:
                tar.addfile(_entry(f"{top}/{name}", tools[name].stat().st_size, tarfile.REGTYPE), program)
    return sha256_of(target)


def _entry(name: str, size: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mode = size, kind, 0o755
    return entry


def unpack_tools(tarball: Path, version: Version, folder: Path) -> dict[str, Path]:
    """The programs in a tarball of any compression, with a top folder or without, written to `folder`.

    Only plain files of the names we want are taken, and written under those names: nothing in the tarball
    decides a path. Raises tarfile.TarError, EOFError or OSError for what is no tarball.
    """
    found = {}
    with tarfile.open(tarball, "r:*") as tar:
        for entry in tar:
            parts = entry.name.removeprefix("./").split("/")
            if entry.isfile() and parts[-1] in tools_of(version) and len(parts) <= 2:
                content = tar.extractfile(entry)
                assert content is not None, "a plain file has content"
                found[parts[-1]] = _write(content, folder / parts[-1])
    return found


def _write(content: IO[bytes], target: Path) -> Path:
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
    target.chmod(0o755)
    return target
