"""Build upstream's source on this machine. Go verifies the modules of the module proxy with its checksum database.

The environment passes GOPROXY, GONOSUMDB, GOFLAGS and all other settings of Go and Git.
"""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from etcdup.core.host.packages import tools_of
from etcdup.core.observed.binaries import Binaries
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
from etcdup.ops.install.command import run
from etcdup.ops.install.path import check_tools
from etcdup.ops.install.wanted import SourceRequest
from etcdup.remote.environment import child_environment

# They are dependencies of a temporary module: their go.mod files contain `replace`, which `go install M@V` refuses.
_MODULES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "etcdctl": "go.etcd.io/etcd/etcdctl/v3",
    "etcdutl": "go.etcd.io/etcd/etcdutl/v3",
}
_FIRST = Version(3, 5, 0)
_PACK_LEVEL = 6  # The archive is built once, then sent to many hosts.
_ELSEWHERE = "or use `from: release`, or `from: path` with binaries that you have"


async def resolve_go(wanted: SourceRequest) -> Binaries:
    """Return the binaries of a build. A previous build is used after its checksum is verified.

    Raises InstallError if no build is possible.
    """
    if wanted.version < _FIRST:
        raise InstallError(
            f"cannot build etcd {wanted.version} from Go modules: they exist for {_FIRST} and later",
            hint="use `from: release`, `package` or `path`",
        )
    built = {arch: _find_built(wanted, arch) for arch in wanted.arches}
    if all(isinstance(found, BinaryArchive) for found in built.values()):
        sums = {arch: found.sha256 for arch, found in built.items() if isinstance(found, BinaryArchive)}
        return Binaries(
            wanted.version, "go", "go.etcd.io/etcd", "a previous run built it on this machine", sums
        )
    _go()
    why = "etcdup builds it on this machine; Go verifies the modules with its checksum database"
    return Binaries(wanted.version, "go", "go.etcd.io/etcd", why)


async def obtain_go(wanted: SourceRequest, arch: str) -> BinaryArchive:
    """Return the archive in the cache. It is built if it is missing, which takes minutes. Raises InstallError."""
    path = archive_path(wanted.cache, wanted.version, arch, "+go")
    archives_folder(wanted.cache)
    async with archive_lock(path, wanted.report):
        found = _find_built(wanted, arch)
        return found if isinstance(found, BinaryArchive) else await _build(wanted, arch, path)


def _find_built(wanted: SourceRequest, arch: str) -> BinaryArchive | str:
    return find_archive(archive_path(wanted.cache, wanted.version, arch, "+go"), wanted.version, arch)


async def _build(wanted: SourceRequest, arch: str, path: Path) -> BinaryArchive:
    with (
        TemporaryDirectory(prefix=".building-", dir=path.parent) as scratch,
        temporary_file(path, ARCHIVE_MODE) as temporary,
    ):
        tools = await build(wanted, arch, Path(scratch))
        await check_tools(tools, wanted.version, arch, "the build")
        sha256 = await asyncio.to_thread(pack, tools, wanted.version, arch, temporary, level=_PACK_LEVEL)
        store_archive(temporary, path, sha256)
    return BinaryArchive(path, sha256, arch, wanted.version)


async def build(wanted: SourceRequest, arch: str, module: Path) -> dict[str, Path]:
    """Build the programs in `module`, an empty folder. Raises InstallError."""
    (module / "go.mod").write_text("module etcdup.invalid/build\n", encoding="ascii")
    names = tools_of(wanted.version)
    env = build_environment(child_environment("GO", "CGO_", "GIT_", "SSH_"), arch)
    wanted.report(f"downloading the modules of etcd {wanted.version}")
    await _run_go(["get", *(f"{_MODULES[name]}@v{wanted.version}" for name in names)], module, env)
    tools = {}
    for name in names:
        wanted.report(f"building {name} {wanted.version} for {arch}")
        tools[name] = module / "bin" / name
        flags = ["-trimpath", "-ldflags", "-s -w", "-o", str(tools[name])]
        await _run_go(["build", *flags, _MODULES[name]], module, env)
    return tools


def build_environment(environment: Mapping[str, str], arch: str) -> dict[str, str]:
    """Return the environment of `go`. `-mod=mod` is last in GOFLAGS, where it overrides a flag of the user."""
    flags = f"{environment.get('GOFLAGS', '')} -mod=mod".strip()
    ours = {"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": arch, "GOFLAGS": flags, "GOWORK": "off"}
    return {**environment, **ours}


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        hint = f"install Go (https://go.dev/dl), {_ELSEWHERE}"
        raise InstallError("`install.from` is go, but this machine has no `go` on PATH", hint=hint)
    return go


async def _run_go(arguments: list[str], module: Path, env: Mapping[str, str]) -> None:
    ran = await run([_go(), *arguments], cwd=module, env=env)
    if ran.status != 0:
        hint = f"check GOPROXY and GOTOOLCHAIN, which decide what Go downloads, {_ELSEWHERE}"
        raise InstallError(f"`go {arguments[0]}` {ran.end}", detail=ran.tail(), hint=hint)
