"""Binaries of the operator: a folder of programs, a tarball, or a folder of upstream tarballs."""

import asyncio
import hashlib
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.host.packages import tools_of
from etcdup.core.observed.model import Binaries
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.files import temporary_file
from etcdup.ops.install.archive import BinaryArchive, archive_name, pack, sha256_of, unpack_tools
from etcdup.ops.install.cache import (
    ARCHIVE_MODE,
    archive_lock,
    archives_folder,
    find_archive,
    store_archive,
)
from etcdup.ops.install.command import run
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
    why = "`install.path` names it; etcdup does not compare it with the upstream release"
    return Binaries(wanted.version, "path", wanted.path, why, sums)


async def obtain_path(wanted: SourceRequest, arch: str) -> BinaryArchive:
    """Return the given binaries as an archive in the cache. Its name contains the hash of their content.

    Raises InstallError.
    """
    given = _given(wanted, arch)
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
        tools = await asyncio.to_thread(_tools, given, wanted.version, Path(scratch))
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


def _content_key(given: Path, version: Version) -> str:
    if given.is_file():
        return sha256_of(given)
    sums = [sha256_of(path) if (path := given / name).is_file() else "" for name in tools_of(version)]
    return hashlib.sha256(" ".join(sums).encode()).hexdigest()


def _tools(given: Path, version: Version, scratch: Path) -> dict[str, Path]:
    """Return all programs that this version needs. Raises InstallError."""
    if given.is_dir():
        tools = {name: given / name for name in tools_of(version) if (given / name).is_file()}
    else:
        try:
            tools = unpack_tools(given, version, scratch)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InstallError(f"cannot read {given} as a tarball: {error}") from None
    if missing := [name for name in tools_of(version) if name not in tools]:
        needs = ", ".join(tools_of(version))
        raise InstallError(
            f"{given} has no {' and no '.join(missing)}",
            hint=f"add the missing programs: etcd {version} needs {needs}, in the folder, or in the tarball at most "
            "one folder deep",
        )
    return tools


async def check_tools(tools: dict[str, Path], version: Version, arch: str, given: Path | str) -> None:
    """Raise InstallError unless all programs are for `arch` and etcd has this version.

    The version is checked only if this machine can run the program.
    """
    for name, program in tools.items():
        if (found := arch_of(program)) != arch:
            is_for = f"is for {found}" if found else "is not a Linux program"
            hint = (
                "write `{arch}` in `install.path`: it is replaced by the architecture of each host"
                if found
                else ""
            )
            raise InstallError(f"{name} in {given} {is_for}, but hosts need {arch}", hint=hint)
    if arch == this_arch():
        printed = await _read_version(tools["etcd"], given)
        if printed != f"etcd Version: {version}":
            hint = "set `version` in cluster.yaml to the version of these binaries, or use other binaries"
            raise InstallError(
                f"{given} is not etcd {version}: `etcd --version` prints `{printed}`", hint=hint
            )


async def _read_version(etcd: Path, given: Path | str) -> str:
    with suppress(TimeoutError):
        try:
            ran = await asyncio.wait_for(run([str(etcd), "--version"]), _VERSION_TIMEOUT_S)
        except OSError as error:
            raise InstallError(f"cannot run etcd in {given}: {error.strerror}") from None
        return (ran.stdout or ran.stderr).split("\n")[0].strip()
    raise InstallError(f"etcd in {given} did not print its version within {_VERSION_TIMEOUT_S:g} s")
