"""Binaries of the operator: a folder of programs, a tarball, or a folder of upstream tarballs."""

import asyncio
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import Binaries
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.files import temporary_file
from etcdup.ops.install.archive import (
    UNREADABLE,
    BinaryArchive,
    archive_name,
    pack,
    sha256_of,
    unpack_tools,
)
from etcdup.ops.install.cache import (
    ARCHIVE_MODE,
    archive_lock,
    archives_folder,
    find_archive,
    store_archive,
)
from etcdup.ops.install.command import run_without_rights
from etcdup.ops.install.elf import arch_of, this_arch
from etcdup.ops.install.wanted import SourceRequest

_VERSION_TIMEOUT_S = 20.0
_PACK_LEVEL = 1  # Speed is more important than size: it is packed again after each change of the content.


async def resolve_path(wanted: SourceRequest) -> Binaries:
    """Pack the binaries, so that the plan contains their checksum. Raises InstallError."""
    if wanted.path is None:
        raise InstallError(
            "`install.from` is path, but there is no `install.path`",
            hint="write `install: {from: path, path: FOLDER}`",
        )
    sums = {arch: (await obtain_path(wanted, arch)).sha256 for arch in wanted.arches}
    compared = "is compared with `install.sha256`"
    why = f"`install.path` names it; it {compared if wanted.sums else 'is compared with no checksum'}"
    return Binaries(wanted.version, "path", wanted.path, why, sums)


async def obtain_path(wanted: SourceRequest, arch: str) -> BinaryArchive:
    """Return the given binaries as an archive in the cache. Its name contains the hash of their content.

    Raises InstallError, also if `install.sha256` is not the checksum of the given tarball.
    """
    given = _given(wanted, arch)
    if arch in wanted.sums:
        await asyncio.to_thread(_compare, given, arch, wanted.sums[arch])
    key = await asyncio.to_thread(_content_key, given, wanted.version)
    name = f"path-{key[:16]}-{archive_name(wanted.version, arch)}.tar.gz"
    path = archives_folder(wanted.cache) / name
    async with archive_lock(path, wanted.report):
        found = find_archive(path, wanted.version, arch)
        return found if isinstance(found, BinaryArchive) else await _repack(wanted, arch, given, path)


async def _repack(wanted: SourceRequest, arch: str, given: Path, path: Path) -> BinaryArchive:
    with (
        TemporaryDirectory(prefix=".given-", dir=path.parent) as scratch,
        temporary_file(path, ARCHIVE_MODE) as temporary,
    ):
        tools = await asyncio.to_thread(all_tools, given, wanted.version, Path(scratch), given)
        await check_tools(tools, wanted.version, arch, given)
        wanted.report(f"packing {given}")
        sha256 = await asyncio.to_thread(pack, tools, wanted.version, arch, temporary, level=_PACK_LEVEL)
        store_archive(temporary, path, sha256)
    return BinaryArchive(path, sha256, arch, wanted.version)


def _given(wanted: SourceRequest, arch: str) -> Path:
    """Return the folder or tarball for this architecture."""
    path = wanted.path_for(arch)
    if not path.exists():
        raise InstallError(
            f"`install.path` {path} does not exist",
            hint="correct `install.path`; a relative path starts at the folder of cluster.yaml",
        )
    for ending in ("gz", "xz"):
        tarball = path / f"{archive_name(wanted.version, arch)}.tar.{ending}"
        if path.is_dir() and not (path / "etcd").exists() and tarball.is_file():
            return tarball
    return path


def _compare(given: Path, arch: str, expected: str) -> None:
    if not given.is_file():
        raise InstallError(
            f"`install.sha256` is the checksum of a tarball, and {given} is a directory of programs",
            hint="remove `install.sha256`, or write the path of the tarball in `install.path`",
        )
    if (got := sha256_of(given)) != expected.lower():
        raise InstallError(
            f"{given} is not the tarball of `install.sha256`: its sha256 is {got}, expected {expected.lower()}",
            hint="use the tarball that has this checksum. Change "
            f"`{arch}` in `install.sha256` only if the sum there is wrong",
        )


def _content_key(given: Path, version: Version) -> str:
    if given.is_file():
        return sha256_of(given)
    sums = [sha256_of(path) if (path := given / name).is_file() else "" for name in tools_of(version)]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def all_tools(given: Path, version: Version, scratch: Path, label: Path | str) -> dict[str, Path]:
    """Return all programs that this version needs. Raises InstallError, which names the folder or tarball `label`."""
    if given.is_dir():
        tools = {name: given / name for name in tools_of(version) if (given / name).is_file()}
    else:
        try:
            tools = unpack_tools(given, version, scratch)
        except UNREADABLE as error:
            raise InstallError(f"cannot read {label} as a tarball: {error}") from None
    if missing := [name for name in tools_of(version) if name not in tools]:
        needs = ", ".join(tools_of(version))
        raise InstallError(
            f"{label} has no {' and no '.join(missing)}",
            hint=f"add the missing programs: etcd {version} needs {needs}, in the folder, or in the tarball at most "
            "one folder deep",
        )
    return tools


async def check_tools(tools: dict[str, Path], version: Version, arch: str, given: Path | str) -> None:
    """Raise InstallError unless all programs are for `arch` and etcd has this version.

    The version is checked only if this machine can run the program. Hosts check it before its first start.
    """
    check_arches(tools, arch, given)
    printed = await _read_version(tools["etcd"], given) if arch == this_arch() else None
    if printed not in (None, f"etcd Version: {version}"):
        hint = "set `version` in cluster.yaml to the version of these binaries, or use other binaries"
        raise InstallError(f"{given} is not etcd {version}: `etcd --version` prints `{printed}`", hint=hint)


def check_arches(tools: dict[str, Path], arch: str, given: Path | str) -> None:
    """Raise InstallError unless all programs are Linux programs for `arch`."""
    for name, program in tools.items():
        if (found := arch_of(program)) != arch:
            is_for = f"is for {found}" if found else "is not a Linux program"
            hint = (
                "write `{arch}` in `install.path`: it is replaced by the architecture of each host"
                if found
                else ""
            )
            raise InstallError(f"{name} in {given} {is_for}, but hosts need {arch}", hint=hint)


async def _read_version(etcd: Path, given: Path | str) -> str | None:
    """Return what the program prints as its version, or None if only root can run it: root runs no new program."""
    with suppress(TimeoutError):
        try:
            ran = await asyncio.wait_for(run_without_rights(etcd, "--version"), _VERSION_TIMEOUT_S)
        except PermissionError:
            if os.geteuid() == 0:
                return None
            raise InstallError(f"cannot run etcd in {given}: the file is not executable") from None
        except OSError as error:
            raise InstallError(f"cannot run etcd in {given}: {error.strerror}") from None
        if ran.status != 0:
            hint = "run `etcd --version` of these binaries on this machine, to see why"
            raise InstallError(
                f"cannot run etcd in {given}: `etcd --version` {ran.end}", detail=ran.tail(), hint=hint
            )
        return ran.stdout.split("\n")[0].strip()
    raise InstallError(f"etcd in {given} did not print its version within {_VERSION_TIMEOUT_S:g} s")
