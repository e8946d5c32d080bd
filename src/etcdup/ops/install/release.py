"""Release tarballs of upstream, from GitHub or from a mirror with the same layout."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.observed.binaries import Binaries
from etcdup.errors import InstallError
from etcdup.ops.files import temporary_file
from etcdup.ops.install.archive import BinaryArchive, archive_name
from etcdup.ops.install.cache import (
    ARCHIVE_MODE,
    archive_lock,
    archive_path,
    archives_folder,
    find_archive,
    store_archive,
)
from etcdup.ops.install.download import check_exists, fetch
from etcdup.ops.install.path import all_tools, check_arches
from etcdup.ops.install.pins import load_pins
from etcdup.ops.install.wanted import GITHUB, SourceRequest

_PINNED = "its checksum is pinned in etcdup"
_GIVEN = "its checksum is `install.sha256` of cluster.yaml"
_ELSEWHERE = "set `install.mirror` to a mirror (`URL/v{version}/{name}.tar.gz`)"


def url_of(wanted: SourceRequest, arch: str) -> str:
    return f"{wanted.base}/v{wanted.version}/{archive_name(wanted.version, arch)}.tar.gz"


async def resolve_release(wanted: SourceRequest) -> Binaries:
    """Return the release as the source. Raises InstallError unless each tarball exists and has a known checksum."""
    sums = _trusted_sums(wanted)
    errors = await asyncio.gather(
        *(check_exists(url_of(wanted, arch), wanted.timeouts) for arch in wanted.arches),
        return_exceptions=True,
    )
    for error in errors:
        if isinstance(error, InstallError):
            raise InstallError(error.message, hint=error.hint or _hint(wanted))
        if error is not None:
            raise error
    origin = "the official release" if wanted.base == GITHUB else "the mirror"
    pinned = load_pins().get(wanted.version, {})
    why = _PINNED if all(sums[arch] == pinned.get(arch) for arch in sums) else _GIVEN
    return Binaries(wanted.version, "release", wanted.base, f"{origin} has it; {why}", sums)


async def obtain_release(wanted: SourceRequest, arch: str, expected: str) -> BinaryArchive:
    """Return the archive in the cache. It is downloaded if it is missing. Raises InstallError."""
    path = archive_path(wanted.cache, wanted.version, arch)
    archives_folder(wanted.cache)
    async with archive_lock(path, wanted.report):
        found = find_archive(path, wanted.version, arch, expected=expected)
        return found if isinstance(found, BinaryArchive) else await _download(wanted, arch, expected)


async def _download(wanted: SourceRequest, arch: str, expected: str) -> BinaryArchive:
    path, url = archive_path(wanted.cache, wanted.version, arch), url_of(wanted, arch)
    with temporary_file(path, ARCHIVE_MODE) as temporary:
        try:
            got = await fetch(url, temporary, wanted.timeouts, wanted.report)
        except InstallError as error:
            raise InstallError(error.message, hint=error.hint or _hint(wanted)) from None
        if got != expected:
            raise _checksum_mismatch(url, expected, got)
        await asyncio.to_thread(_check_programs, temporary, wanted, arch)
        store_archive(temporary, path, got)
    return BinaryArchive(path, got, arch, wanted.version)


def _check_programs(tarball: Path, wanted: SourceRequest, arch: str) -> None:
    """Raise InstallError unless the tarball has all programs, for `arch`. Nothing in it is run."""
    with TemporaryDirectory(prefix=".checking-", dir=tarball.parent) as scratch:
        url = url_of(wanted, arch)
        check_arches(all_tools(tarball, wanted.version, Path(scratch), url), arch, url)


def _trusted_sums(wanted: SourceRequest) -> dict[str, str]:
    """Return the checksum for each architecture. Raises InstallError: a tarball without one is never downloaded."""
    missing = [arch for arch in wanted.arches if arch not in wanted.sums]
    if not missing:
        return {arch: wanted.sums[arch] for arch in wanted.arches}
    lines = ", ".join(f"{arch}: SHA256" for arch in missing)
    names = " and ".join(f"{archive_name(wanted.version, arch)}.tar.gz" for arch in missing)
    raise InstallError(
        f"etcdup has no checksum of etcd {wanted.version} for {', '.join(missing)}",
        hint=f"write `sha256: {{{lines}}}` below `install` in cluster.yaml. {GITHUB}/v{wanted.version}/SHA256SUMS has "
        f"the checksum of {names}",
    )


def _checksum_mismatch(url: str, expected: str, got: str) -> InstallError:
    return InstallError(
        f"{url} has another content than expected: its sha256 is {got}, expected {expected}",
        detail="etcdup deleted the downloaded file. It was not sent to any host.",
        hint="run the command again; if the error remains, use another mirror and report it to the operators of this "
        "mirror. For binaries that you built, use `install: {from: path, path: FOLDER}`",
    )


def _hint(wanted: SourceRequest) -> str:
    return _ELSEWHERE.format(version=wanted.version, name=archive_name(wanted.version, "ARCH"))
