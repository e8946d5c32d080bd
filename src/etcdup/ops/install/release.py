"""Upstream's release tarballs, from GitHub or from a mirror of the same layout."""

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
    "its checksum is not pinned in etcdup and was taken from the SHA256SUMS beside it: "
    "that proves the transfer, not the origin"
)
_ELSEWHERE = (
    "`install.mirror` can name another place (`URL/v{version}/{name}.tar.gz`, with SHA256SUMS beside it)"
)


def url_of(wanted: SourceRequest, arch: str) -> str:
    return f"{wanted.base}/v{wanted.version}/{archive_name(wanted.version, arch)}.tar.gz"


async def resolve_release(wanted: SourceRequest) -> Binaries:
    """Raises InstallError unless the tarball of every architecture is there and its checksum known."""
    sums, why = await _fetch_checksums(wanted)
    looked = await asyncio.gather(
        *(check_exists(url_of(wanted, arch), wanted.timeouts) for arch in wanted.arches),
        return_exceptions=True,
    )
    for error in looked:
        if isinstance(error, InstallError):
            raise InstallError(error.message, hint=error.hint or _hint(wanted))
        if error is not None:
            raise error
    origin = "the official release" if wanted.base == GITHUB else "the mirror"
    return Binaries(wanted.version, "release", wanted.base, f"{origin} has it; {why}", sums)


async def obtain_release(wanted: SourceRequest, arch: str, expected: str) -> BinaryArchive:
    """The archive in the cache, downloaded if it is not there. Raises InstallError."""
    path = archive_path(wanted.cache, wanted.version, arch)
    archives_folder(wanted.cache)
    async with archive_lock(path, wanted.report):
        found = find_archive(path, wanted.version, arch, expected=expected)
        return found if isinstance(found, BinaryArchive) else await _download(wanted, arch, expected)


async def _download(wanted: SourceRequest, arch: str, expected: str) -> BinaryArchive:
    path, url = archive_path(wanted.cache, wanted.version, arch), url_of(wanted, arch)
    with temporary_file(path, ARCHIVE_MODE) as making:
        try:
            got = await fetch(url, making, wanted.timeouts, wanted.report)
        except InstallError as error:
            raise InstallError(error.message, hint=error.hint or _hint(wanted)) from None
        if got != expected:
            raise _checksum_mismatch(url, expected, got)
        store_archive(making, path, got)
    return BinaryArchive(path, got, arch, wanted.version)


async def _fetch_checksums(wanted: SourceRequest) -> tuple[dict[str, str], str]:
    """By architecture, and where they are from. A pinned one always goes before the mirror's."""
    pinned = wanted.pins.get(wanted.version, {})
    unpinned = [arch for arch in wanted.arches if arch not in pinned]
    sums = {arch: pinned[arch] for arch in wanted.arches if arch in pinned}
    for arch in unpinned:
        sums[arch] = await _fetch_checksum_from_mirror(wanted, arch)
    return sums, _UNPINNED if unpinned else _PINNED


async def _fetch_checksum_from_mirror(wanted: SourceRequest, arch: str) -> str:
    url = f"{wanted.base}/v{wanted.version}/SHA256SUMS"
    name = f"{archive_name(wanted.version, arch)}.tar.gz"
    nothing = f"etcd {wanted.version} for {arch} has no checksum pinned in etcdup"
    hint = f"use a mirror with SHA256SUMS beside the tarballs, or check {name} yourself and use `from: path`"
    try:
        text = await fetch_small(url, wanted.timeouts)
    except InstallError as error:
        raise InstallError(f"{nothing}, and {error}", hint=error.hint or hint) from None
    for sha256, listed in _SUM.findall(text):
        if listed == name:
            return str(sha256).lower()
    raise InstallError(f"{nothing}, and {url} does not list {name}", hint=hint)


def _checksum_mismatch(url: str, expected: str, got: str) -> InstallError:
    return InstallError(
        f"{url} is not the file it should be: its sha256 is {got}, expected {expected}",
        detail="What was downloaded was deleted; no host has seen it.",
        hint="try again; if it stays, use another mirror and tell whoever runs this. Binaries of your own "
        "making go in with `install: {from: path, path: FOLDER}`",
    )


def _hint(wanted: SourceRequest) -> str:
    return _ELSEWHERE.format(version=wanted.version, name=archive_name(wanted.version, "ARCH"))
