"""Programs of etcd that hosts of the cluster have: this machine copies them to other hosts, and never runs them.

Which programs may be copied: core/host/copied_programs.py.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.adopt.foreign_unit import foreign_member
from etcdup.core.adopt.model import Unreadable
from etcdup.core.adopt.parse_processes import parse_processes
from etcdup.core.adopt.scripts import processes_argv
from etcdup.core.adopt.switch_state import SwitchState
from etcdup.core.host.copied_programs import (
    UnreadablePrograms,
    choose_programs,
    parse_programs,
    programs_argv,
    read_argv,
)
from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import Binaries, ProgramsSeen
from etcdup.core.observed.host import HostSeen
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.visible import one_line
from etcdup.errors import InstallError, RefusedError, RemoteError
from etcdup.ops.files import temporary_file
from etcdup.ops.install.archive import MOST_BYTES, BinaryArchive, archive_name, pack
from etcdup.ops.install.cache import (
    ARCHIVE_MODE,
    archive_lock,
    archives_folder,
    find_archive,
    store_archive,
)
from etcdup.ops.install.elf import arch_of
from etcdup.ops.install.wanted import SourceRequest
from etcdup.remote.host import Host

# A host reads and hashes some 60 MB.
_READ_TIMEOUT_S = 120.0
# In base64, a block is smaller than the most that a command may print.
BLOCK_BYTES = 8 << 20
_PACK_LEVEL = 1
_LONGEST_FAULT = 300
_AGAIN = "run the same command again"


async def resolve_host(
    wanted: SourceRequest, spec: Spec, hosts: Mapping[str, Host], seen: Mapping[str, HostSeen]
) -> Binaries:
    """Return the programs of a host for each architecture. Raises RefusedError if no second fact proves them."""
    chosen: dict[str, ProgramsSeen] = {}
    whys = []
    for arch in wanted.arches:
        names = [name for name in seen if name in hosts and seen[name].arch == arch]
        answers = await asyncio.gather(
            *(_programs_of(wanted, spec, hosts[name], seen[name]) for name in names)
        )
        found = [each for each in answers if isinstance(each, ProgramsSeen)]
        faults = {name: each for name, each in zip(names, answers, strict=True) if isinstance(each, str)}
        programs = choose_programs(wanted.version, arch, found, faults, wanted.sums.get(arch, ""))
        if isinstance(programs, Refused):
            raise RefusedError(programs.message, hint=programs.hint)
        chosen[arch] = programs
        same = ", ".join(each.host for each in found if each.sha256 == programs.sha256)
        proof = "`install.sha256` is their sum" if arch in wanted.sums else "they are the same"
        whys.append(f"{same} has it: {proof}, {programs.sha256}")
    origin = ", ".join(sorted({each.host for each in chosen.values()}))
    return Binaries(wanted.version, "host", origin, "; ".join(whys), programs=chosen)


async def obtain_host(wanted: SourceRequest, arch: str, programs: ProgramsSeen, host: Host) -> BinaryArchive:
    """Return the programs of a host as an archive in the cache. Raises InstallError if they are not those of the plan.

    The name of the archive contains their sum.
    """
    name = f"host-{programs.sha256}-{archive_name(wanted.version, arch)}.tar.gz"
    path = archives_folder(wanted.cache) / name
    async with archive_lock(path, wanted.report):
        found = find_archive(path, wanted.version, arch)
        return found if isinstance(found, BinaryArchive) else await _copy(wanted, arch, programs, host, path)


async def _copy(
    wanted: SourceRequest, arch: str, programs: ProgramsSeen, host: Host, path: Path
) -> BinaryArchive:
    with (
        TemporaryDirectory(prefix=".host-", dir=path.parent) as scratch,
        temporary_file(path, ARCHIVE_MODE) as temporary,
    ):
        wanted.report(f"copying etcd {wanted.version} from {host.name}")
        tools = {tool: Path(scratch) / tool for tool in tools_of(wanted.version)}
        for place, target in zip(programs.paths, tools.values(), strict=True):
            await _read(host, place, target)
        if await asyncio.to_thread(_sum_of, tools.values()) != programs.sha256:
            message = f"{host.name}: its programs of etcd {wanted.version} are not those of the plan"
            raise InstallError(message, hint=_AGAIN)
        if bad := [tool for tool, program in tools.items() if arch_of(program) != arch]:
            raise InstallError(f"{host.name}: {bad[0]} is not a Linux program for {arch}")
        sha256 = await asyncio.to_thread(pack, tools, wanted.version, arch, temporary, level=_PACK_LEVEL)
        store_archive(temporary, path, sha256)
    return BinaryArchive(path, sha256, arch, wanted.version)


async def _read(host: Host, place: str, target: Path) -> None:
    """Copy a program block by block. The last block is shorter than the others."""
    with target.open("wb") as file:
        for number in range(MOST_BYTES // BLOCK_BYTES):
            result = await host.run(read_argv(place, number, BLOCK_BYTES), timeout_s=_READ_TIMEOUT_S)
            try:
                block = base64.b64decode(result.check().stdout.strip(), validate=True)
            except binascii.Error:
                raise InstallError(f"{host.name}: its answer for {place} is not readable") from None
            file.write(block)
            if len(block) < BLOCK_BYTES:
                return
    raise InstallError(f"{host.name}: {place} is larger than {MOST_BYTES >> 20} MiB")


def _sum_of(programs: Iterable[Path]) -> str:
    """Return the SHA-256 of the programs, one after the other."""
    found = hashlib.sha256()
    for program in programs:
        found.update(program.read_bytes())
    return found.hexdigest()


async def _programs_of(
    wanted: SourceRequest, spec: Spec, host: Host, seen: HostSeen
) -> ProgramsSeen | str | None:
    """Return the programs of a host, or why they cannot be used. None: it has no etcd of this version."""
    try:
        if (place := await _place_of(wanted, spec, host, seen)) is None:
            return None
        result = await host.run(programs_argv(place, wanted.version), timeout_s=_READ_TIMEOUT_S)
        return parse_programs(host.name, wanted.version, result.check().stdout)
    except (RemoteError, UnreadablePrograms, Unreadable) as error:
        return one_line(str(error), _LONGEST_FAULT)


async def _place_of(wanted: SourceRequest, spec: Spec, host: Host, seen: HostSeen) -> str | None:
    """Return the directory of etcdup on this host, or the PID of a member that waits for its take-over."""
    own = spec.host(host.name)
    layout = layout_of(spec, own)
    if not seen.is_waiting:
        has_version = str(wanted.version) in seen.versions
        return layout.version_dir(str(wanted.version)) if has_version else None
    result = await host.run(processes_argv(), timeout_s=_READ_TIMEOUT_S)
    first = parse_processes(host.name, result.check().stdout)
    found = foreign_member(own, layout, first, SwitchState("none"))
    if isinstance(found, tuple):
        raise UnreadablePrograms("; ".join(each.message for each in found))
    return str(found.pid)
