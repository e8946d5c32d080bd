"""An archive of the binaries of one version and architecture: pack it, unpack it."""

import bz2
import gzip
import hashlib
import lzma
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from etcdup.core.host.packages import tools_of
from etcdup.core.spec.version import Version

_CHUNK = 1024 * 1024
# The programs of etcd have about 70 MiB together, and an archive of a release about 25 entries.
MOST_BYTES = 512 * 1024 * 1024
MOST_ENTRIES = 1000
# What a file raises that is no tarball.
UNREADABLE = (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError, zlib.error)


@dataclass(frozen=True)
class BinaryArchive:
    """A .tar.gz that has `tools_of(version)` in one top folder. Hosts unpack it with --strip-components=1."""

    path: Path
    sha256: str
    arch: str
    version: Version


def archive_name(version: Version, arch: str) -> str:
    """Return the upstream name without .tar.gz. The top folder in the archive has the same name."""
    return f"etcd-v{version}-linux-{arch}"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pack(tools: Mapping[str, Path], version: Version, arch: str, target: Path, *, level: int) -> str:
    """Write `tools` (name -> program) as an archive and return its sha256. The same programs give the same archive."""
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
    """Write the programs in a tarball to `folder`. Any compression is accepted, and a top folder is optional.

    Only regular files with the names of the tools are used, and the path of each is fixed: no entry of the tarball
    decides a path. Raises an error of UNREADABLE if the file is not a tarball, or unpacks to more than MOST_BYTES.
    """
    found = {}
    with (
        _open(tarball) as stream,
        tarfile.open(fileobj=cast("IO[bytes]", _BoundedReader(stream)), mode="r|") as tar,
    ):
        for number, entry in enumerate(tar):
            if number >= MOST_ENTRIES:
                raise tarfile.TarError(f"it has more than {MOST_ENTRIES} entries")
            parts = entry.name.removeprefix("./").split("/")
            if entry.isfile() and parts[-1] in tools_of(version) and len(parts) <= 2:
                content = tar.extractfile(entry)
                assert content is not None, "a regular file has content"
                found[parts[-1]] = _write(content, folder / parts[-1])
    return found


class _BoundedReader:
    """A stream that ends with an error after MOST_BYTES, also between and inside of the headers of entries."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, _CHUNK))
        self._left -= len(content)
        if self._left < 0:
            raise tarfile.TarError(f"it unpacks to more than {MOST_BYTES >> 20} MiB")
        return content


def _open(tarball: Path) -> IO[bytes]:
    """Open a file, and decompress it if it is compressed."""
    with tarball.open("rb") as file:
        begin = file.read(6)
    if begin.startswith(b"\x1f\x8b"):
        return cast("IO[bytes]", gzip.open(tarball))
    if begin.startswith(b"\xfd7zXZ"):
        return lzma.open(tarball)
    return bz2.open(tarball) if begin.startswith(b"BZh") else tarball.open("rb")


def _write(content: IO[bytes], target: Path) -> Path:
    with target.open("wb") as file:
        while chunk := content.read(_CHUNK):
            file.write(chunk)
    target.chmod(0o755)
    return target
