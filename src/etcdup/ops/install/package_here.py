"""Packages of this machine's distribution, for local members. No package is installed.

It needs no root, and changes nothing of the package manager.
"""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.host.packages import (
    Candidate,
    candidate_command,
    packages_of,
    parse_candidate,
    refresh_command,
    tools_of,
)
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.files import temporary_file
from etcdup.ops.install.archive import BinaryArchive, pack
from etcdup.ops.install.cache import (
    ARCHIVE_MODE,
    archive_lock,
    archive_path,
    archives_folder,
    find_archive,
    store_archive,
)
from etcdup.ops.install.command import ProcessResult, run
from etcdup.ops.install.elf import this_arch
from etcdup.ops.install.path import check_tools

_PACK_LEVEL = 1
_NEEDS = {"apt": ("apt-get", "apt-cache", "dpkg-deb"), "dnf": ("dnf", "rpm2cpio", "cpio")}

# apt with its state in a folder: it uses the sources, proxies and keys of this machine, its own lists, and no hooks.
_APT_CONFIG = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::State "{root}/state";
Dir::State::lists "{root}/state/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Cache::archives "{root}/cache/archives";
Acquire::Languages "none";
APT::Sandbox::User "";
"""

Report = Callable[[str], None]
Options = tuple[str, ...]


async def pack_local_package(arch: str, *, cache: Path, report: Report) -> tuple[Version, BinaryArchive]:
    """Return the version that this machine's distribution has, and its archive.

    Raises InstallError, also if `arch` is not the architecture of this machine.
    """
    if arch != this_arch():
        raise InstallError(f"the packages of this machine are for {this_arch()}, not {arch}")
    manager = _local_manager()
    with TemporaryDirectory(prefix="etcdup-packages-") as scratch:
        try:
            return await _download_and_pack(manager, (), Path(scratch), cache, report)
        except InstallError:
            if manager != "apt":
                raise
            # The package lists are missing, or the mirror no longer has the files that they name.
            return await _download_and_pack(
                manager, await _fetch_lists(Path(scratch), report), Path(scratch), cache, report
            )


async def query_local_package(report: Report) -> Candidate:
    """Return the package that `pack_local_package` would use. Raises InstallError."""
    manager = _local_manager()
    if candidate := await _query(manager, ()):
        return candidate
    if manager == "apt":
        with TemporaryDirectory(prefix="etcdup-packages-") as scratch:
            if candidate := await _query(manager, await _fetch_lists(Path(scratch), report)):
                return candidate
    raise InstallError(f"{manager} on this machine has no package of etcd")


def _local_manager() -> str:
    for manager, programs in _NEEDS.items():
        if all(shutil.which(program) for program in programs):
            return manager
    needs = " nor ".join(f"{manager} ({', '.join(programs)})" for manager, programs in _NEEDS.items())
    raise InstallError(f"cannot download packages of etcd: this machine has neither {needs}")


async def _download_and_pack(
    manager: str, options: Options, scratch: Path, cache: Path, report: Report
) -> tuple[Version, BinaryArchive]:
    candidate = await _query(manager, options)
    if candidate is None or candidate.version is None:
        offer = (
            f"offers etcd {candidate.text}, which is not a release" if candidate else "has no package of etcd"
        )
        raise InstallError(f"{manager} on this machine {offer}")
    path = archive_path(cache, candidate.version, this_arch(), "+package")
    archives_folder(cache)
    async with archive_lock(path, report):
        found = find_archive(path, candidate.version, this_arch())
        if isinstance(found, BinaryArchive):
            return candidate.version, found
        report(f"downloading etcd {candidate.version} from this machine's distribution")
        await _unpack(manager, packages_of(manager, candidate.version), options, scratch)
        return candidate.version, await _pack(candidate.version, scratch / "usr/bin", path)


async def _pack(version: Version, folder: Path, path: Path) -> BinaryArchive:
    tools = {name: folder / name for name in tools_of(version) if (folder / name).is_file()}
    if missing := [name for name in tools_of(version) if name not in tools]:
        raise InstallError(
            f"the packages of etcd {version} of this distribution contain no {' and no '.join(missing)}"
        )
    await check_tools(tools, version, this_arch(), "the package")
    with temporary_file(path, ARCHIVE_MODE) as temporary:
        sha256 = await asyncio.to_thread(pack, tools, version, this_arch(), temporary, level=_PACK_LEVEL)
        store_archive(temporary, path, sha256)
    return BinaryArchive(path, sha256, this_arch(), version)


async def _unpack(manager: str, packages: tuple[str, ...], options: Options, scratch: Path) -> None:
    """Download the packages into `scratch` and unpack them there. Their scripts are not run."""
    if manager == "apt":
        await _run_checked(("apt-get", "-q", "download", *packages, *options), scratch)
        await _run_checked(("sh", "-ec", 'for deb in ./*.deb; do dpkg-deb -x "$deb" .; done'), scratch)
    else:
        await _run_checked((manager, "--quiet", "download", *packages), scratch)
        await _run_checked(
            ("sh", "-ec", 'for rpm in ./*.rpm; do rpm2cpio "$rpm" | cpio -idm --quiet; done'), scratch
        )


async def _fetch_lists(scratch: Path, report: Report) -> Options:
    """Download package lists into `scratch` and return apt's options for them. A source that fails is ignored."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "state/status").touch()
    config = scratch / "apt.conf"
    config.write_text(_APT_CONFIG.format(root=scratch), encoding="utf-8")
    report("downloading package lists for this machine")
    options = ("-c", str(config))
    await _run_program((*refresh_command("apt"), *options), scratch)
    return options


async def _query(manager: str, options: Options) -> Candidate | None:
    return parse_candidate(manager, (await _run_program((*candidate_command(manager), *options))).stdout)


async def _run_program(argv: tuple[str, ...], cwd: Path | None = None) -> ProcessResult:
    try:
        return await run(argv, cwd=cwd)
    except OSError as error:
        raise InstallError(f"cannot run `{argv[0]}` on this machine: {error.strerror}") from None


async def _run_checked(argv: tuple[str, ...], cwd: Path) -> None:
    ran = await _run_program(argv, cwd)
    if ran.status != 0:
        raise InstallError(f"`{' '.join(argv[:3])}` {ran.end}", detail=ran.tail())
