"""Release tarballs of upstream, from GitHub or from a mirror with the same layout."""

import asyncio
import re

from etcdup.core.observed.model import Binaries
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
from etcdup.ops.install.download import check_exists, fetch, fetch_small
from etcdup.ops.install.wanted import GITHUB, SourceRequest

_SUM = re.compile(r"([0-9a-fA-F]{64})[ \t]+[*]?(?:\./)?(\S+)", re.ASCII)
_PINNED = "its checksum is pinned in etcdup"
_UNPINNED = (
    "its checksum is not pinned in etcdup and comes from SHA256SUMS in the same folder: "
    "that proves the transfer, not the origin"
)
_ELSEWHERE = (
    "set `install.mirror` to a mirror (`URL/v{version}/{name}.tar.gz`, with SHA256SUMS in the same folder)"
)


def url_of(wanted: SourceRequest, arch: str) -> str:
    return f"{wanted.base}/v{wanted.version}/{archive_name(wanted.version, arch)}.tar.gz"


async def resolve_release(wanted: SourceRequest) -> Binaries:
    """Return the release as the source. Raises InstallError unless each tarball exists and has a known checksum."""
    sums, why = await _fetch_checksums(wanted)
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
        store_archive(temporary, path, got)
    return BinaryArchive(path, got, arch, wanted.version)


async def _fetch_checksums(wanted: SourceRequest) -> tuple[dict[str, str], str]:
    """Return the checksums by architecture, and their origin. A pinned checksum has priority over the mirror."""
    pinned = wanted.pins.get(wanted.version, {})
    unpinned = [arch for arch in wanted.arches if arch not in pinned]
    sums = {arch: pinned[arch] for arch in wanted.arches if arch in pinned}
    for arch in unpinned:
        sums[arch] = await _fetch_checksum_from_mirror(wanted, arch)
    return sums, _UNPINNED if unpinned else _PINNED


async def _fetch_checksum_from_mirror(wanted: SourceRequest, arch: str) -> str:
    url = f"{wanted.base}/v{wanted.version}/SHA256SUMS"
    name = f"{archive_name(wanted.version, arch)}.tar.gz"
    unpinned = f"etcdup has no pinned checksum of etcd {wanted.version} for {arch}"
    hint = f"use a mirror that has SHA256SUMS, or verify {name} yourself and use `from: path`"
    try:
        text = await fetch_small(url, wanted.timeouts)
    except InstallError as error:
        raise InstallError(f"{unpinned}, and {error}", hint=error.hint or hint) from None
    for sha256, listed in _SUM.findall(text):
        if listed == name:
            return str(sha256).lower()
    raise InstallError(f"{unpinned}, and {url} does not list {name}", hint=hint)


def _checksum_mismatch(url: str, expected: str, got: str) -> InstallError:
    return InstallError(
        f"{url} has another content than expected: its sha256 is {got}, expected {expected}",
        detail="etcdup deleted the downloaded file. It was not sent to any host.",
        hint="run the command again; if the error remains, use another mirror and report it to the operators of this "
        "mirror. For binaries that you built, use `install: {from: path, path: FOLDER}`",
    )


def _hint(wanted: SourceRequest) -> str:
    return _ELSEWHERE.format(version=wanted.version, name=archive_name(wanted.version, "ARCH"))
