"""This machine's own packages, for members that live in a folder. Nothing is installed.

Neither root nor a change to this machine's package manager is needed.
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

# An apt of our own in a folder: this machine's sources, proxies and keys, but its own lists, and no hooks.
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
    """Whatever version this machine's distribution has, as an archive.

    Raises InstallError, also where `arch` is not this machine's.
    """
    if arch != this_arch():
        raise InstallError(f"this machine's packages are for {this_arch()}, not {arch}")
    manager = _local_manager()
    with TemporaryDirectory(prefix="etcdup-packages-") as scratch:
        try:
            return await _download_and_pack(manager, (), Path(scratch), cache, report)
        except InstallError:
            if manager != "apt":
                raise
            # This machine's lists are missing, or older than what the mirror still holds.
            return await _download_and_pack(
                manager, await _fetch_lists(Path(scratch), report), Path(scratch), cache, report
            )


async def query_local_package(report: Report) -> Candidate:
    """What `pack_local_package` would take. Raises InstallError."""
    manager = _local_manager()
    if candidate := await _query(manager, ()):
        return candidate
    if manager == "apt":
        with TemporaryDirectory(prefix="etcdup-packages-") as scratch:
            if candidate := await _query(manager, await _fetch_lists(Path(scratch), report)):
                return candidate
    raise InstallError(f"this machine's {manager} knows no package of etcd")


def _local_manager() -> str:
    for manager, programs in _NEEDS.items():
        if all(shutil.which(program) for program in programs):
            return manager
    needs = " or ".join(f"{manager} ({', '.join(programs)})" for manager, programs in _NEEDS.items())
    raise InstallError(f"etcd's packages can be had here with {needs}, and this machine has neither")


async def _download_and_pack(
    manager: str, options: Options, scratch: Path, cache: Path, report: Report
) -> tuple[Version, BinaryArchive]:
    candidate = await _query(manager, options)
    if candidate is None or candidate.version is None:
        offer = (
            f"offers etcd {candidate.text}, which is no release" if candidate else "knows no package of etcd"
        )
        raise InstallError(f"this machine's {manager} {offer}")
    path = archive_path(cache, candidate.version, this_arch(), "+package")
    archives_folder(cache)
    async with archive_lock(path, report):
        found = find_archive(path, candidate.version, this_arch())
        if isinstance(found, BinaryArchive):
            return candidate.version, found
        report(f"fetching etcd {candidate.version} from this machine's distribution")
        await _unpack(manager, packages_of(manager, candidate.version), options, scratch)
        return candidate.version, await _pack(candidate.version, scratch / "usr/bin", path)


async def _pack(version: Version, folder: Path, path: Path) -> BinaryArchive:
    tools = {name: folder / name for name in tools_of(version) if (folder / name).is_file()}
    if missing := [name for name in tools_of(version) if name not in tools]:
        raise InstallError(
            f"this distribution's packages of etcd {version} hold no {' and no '.join(missing)}"
        )
    await check_tools(tools, version, this_arch(), "the package")
    with temporary_file(path, ARCHIVE_MODE) as making:
        sha256 = await asyncio.to_thread(pack, tools, version, this_arch(), making, level=_PACK_LEVEL)
        store_archive(making, path, sha256)
    return BinaryArchive(path, sha256, this_arch(), version)


async def _unpack(manager: str, packages: tuple[str, ...], options: Options, scratch: Path) -> None:
    """Downloads the packages into `scratch` and unpacks them there. Their scripts are not run."""
    if manager == "apt":
        await _run_checked(("apt-get", "-q", "download", *packages, *options), scratch)
        await _run_checked(("sh", "-ec", 'for deb in ./*.deb; do dpkg-deb -x "$deb" .; done'), scratch)
    else:
        await _run_checked((manager, "--quiet", "download", *packages), scratch)
        await _run_checked(
            ("sh", "-ec", 'for rpm in ./*.rpm; do rpm2cpio "$rpm" | cpio -idm --quiet; done'), scratch
        )


async def _fetch_lists(scratch: Path, report: Report) -> Options:
    """apt's options for lists of our own, just fetched. One dead source among many is no reason to stop."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True)
    (scratch / "state/status").touch()
    config = scratch / "apt.conf"
    config.write_text(_APT_CONFIG.format(root=scratch), encoding="utf-8")
    report("fetching this machine's package lists")
    options = ("-c", str(config))
    await _run_program((*refresh_command("apt"), *options), scratch)
    return options


async def _query(manager: str, options: Options) -> Candidate | None:
    return parse_candidate(manager, (await _run_program((*candidate_command(manager), *options))).stdout)


async def _run_program(argv: tuple[str, ...], cwd: Path | None = None) -> ProcessResult:
    try:
        return await run(argv, cwd=cwd)
    except OSError as error:
        raise InstallError(f"`{argv[0]}` cannot be run here: {error.strerror}") from None


async def _run_checked(argv: tuple[str, ...], cwd: Path) -> None:
    ran = await _run_program(argv, cwd)
    if ran.status != 0:
        raise InstallError(f"`{' '.join(argv[:3])}` failed with status {ran.status}", detail=ran.tail())
