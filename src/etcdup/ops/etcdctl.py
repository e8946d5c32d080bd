"""Find an etcdctl for this machine, and the endpoints that are reachable from here."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from etcdup.core.host.packages import tools_of
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError
from etcdup.ops.install import install
from etcdup.ops.install.archive import BinaryArchive, unpack_tools
from etcdup.ops.install.cache import Flavour, find_trusted
from etcdup.ops.install.path import check_tools
from etcdup.ops.world.binaries import Report
from etcdup.ops.world.observe import observe
from etcdup.ops.world.ports import resolve_member_target
from etcdup.ops.world.world import World

TOOL = "etcdctl"
LOOPBACK = "127.0.0.1"
_FLAVOURS: tuple[Flavour, ...] = ("", "+go", "+package")


async def find_etcdctl(world: World, folder: Path, report: Report) -> Path:
    """Return the path of an etcdctl. Raises InstallError.

    It is that of a local member, or that of the cluster's version in the cache, or the one on $PATH. Otherwise etcdup
    obtains it from the same source as the binaries of the hosts.
    """
    found = _of_local_member(world.spec) or await _find_cached(world.spec.version)
    if found is None and (on_path := shutil.which(TOOL)):
        found = Path(on_path)
    hint = "install the package etcd-client of your distribution, so that etcdctl is on $PATH"
    return found or await _obtain(world, folder, world.spec.version, report, hint)


async def find_tools(world: World, folder: Path, version: Version, report: Report) -> Path:
    """Return a folder with all programs of this version for this machine. Raises InstallError.

    It is that of a local member, or that in the cache, or one of $PATH. Otherwise etcdup obtains it from the source of
    the hosts.
    """
    local = _of_local_member(world.spec)
    if local is not None and local.resolve().parent.name == str(version):
        return local.parent
    if cached := await _find_cached(version):
        return cached.parent
    if on_path := await find_on_path(version):
        return on_path
    needed = ", ".join(tools_of(version))
    hint = f"install etcd {version} on this machine, so that one directory of $PATH has {needed}"
    return (await _obtain(world, folder, version, report, hint)).parent


async def find_on_path(version: Version) -> Path | None:
    """Return the directory of $PATH with all programs of exactly this version, or None."""
    if (etcd := shutil.which("etcd")) is None:
        return None
    folder = Path(etcd).parent
    tools = {name: folder / name for name in tools_of(version)}
    if not all(path.is_file() for path in tools.values()):
        return None
    try:
        await check_tools(tools, version, install.this_arch(), folder)
    except InstallError:
        return None
    return folder


async def resolve_endpoints(world: World, names: Sequence[str]) -> list[str]:
    """Return client URLs that work on this machine, through SSH forwarding for hosts that use SSH.

    Certificates of members contain 127.0.0.1, so they are valid for a forwarded port. Provided certificates may not
    contain it: then the URL is that of the member itself.
    """
    certs = world.pki.observe().certs
    urls = []
    for name in names:
        host = world.spec.host(name)
        cert = certs.get(f"server/{name}")
        through_ssh = name in world.hosts and not host.local and cert and LOOPBACK in cert.addresses
        target = await resolve_member_target(world.spec, host, world.hosts[name] if through_ssh else None)
        urls.append(f"https://{target}")
    return urls


def _of_local_member(spec: Spec) -> Path | None:
    for host in spec.hosts:
        path = Path(layout_of(spec, host).current) / TOOL
        if host.local and os.access(path, os.X_OK):
            return path
    return None


async def _find_cached(version: Version) -> Path | None:
    """Return the etcdctl of an archive in the cache. The archive is unpacked once."""
    arch = install.this_arch()
    folder = install.cache_dir() / "tools" / f"{version}-{arch}"
    if not (folder / TOOL).exists():
        for flavour in _FLAVOURS:
            sums = install.load_pins().get(version, {})
            found = find_trusted(install.cache_dir(), version, arch, flavour, sums)
            if isinstance(found, BinaryArchive):
                return await asyncio.to_thread(_unpack, found.path, version, folder)
    return folder / TOOL if (folder / TOOL).exists() else None


def _unpack(archive: Path, version: Version, folder: Path) -> Path:
    unpacked = folder.with_name(f".{folder.name}.{os.getpid()}")
    unpacked.mkdir(parents=True, exist_ok=True)
    unpack_tools(archive, version, unpacked)
    try:
        unpacked.rename(folder)
    except OSError:  # Another etcdup has renamed its folder first.
        shutil.rmtree(unpacked)
    return folder / TOOL


async def _obtain(world: World, folder: Path, version: Version, report: Report, hint: str) -> Path:
    arch = install.this_arch()
    if world.spec.install.source == "host":
        why = "it runs no program of a host, and `install.from` is host"
        raise InstallError(f"this machine has no programs of etcd {version}: {why}", hint=hint)
    observed = await observe(world)
    try:
        binaries = await install.resolve(
            world.spec.at(version), folder, frozenset((arch,)), world.hosts, observed.reachable(),
            cache=install.cache_dir(), report=report,
        )  # fmt: skip
        archive = await world.obtain_archive(binaries, arch)
    except (InstallError, KeyError) as error:
        why = error.message if isinstance(error, InstallError) else "the hosts install it from packages"
        raise InstallError(f"this machine has no programs of etcd {version}: {why}", hint=hint) from None
    unpacked = install.cache_dir() / "tools" / f"{version}-{arch}"
    return await asyncio.to_thread(_unpack, archive, version, unpacked)
