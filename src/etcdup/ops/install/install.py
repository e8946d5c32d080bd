"""The source of the wanted version, resolved before planning, and its archive, obtained during apply.

    resolve  -> Binaries         part of the plan: source, origin, why, checksums. No large download.
    obtain   -> BinaryArchive    one for each CPU architecture, in the cache, verified; sent to all hosts at once

A host unpacks an archive with `tar -xz --strip-components=1`. With
`package`, hosts install packages themselves (core/host/packages.py), and archives are for local members only.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.model import Spec
from etcdup.errors import InstallError
from etcdup.ops.install.archive import BinaryArchive
from etcdup.ops.install.cache import Flavour, cache_dir, cached_versions, find_trusted
from etcdup.ops.install.elf import this_arch
from etcdup.ops.install.from_host import obtain_host, resolve_host
from etcdup.ops.install.go import obtain_go, resolve_go
from etcdup.ops.install.package import obtain_package, resolve_package
from etcdup.ops.install.package_here import pack_local_package
from etcdup.ops.install.path import obtain_path, resolve_path
from etcdup.ops.install.pins import Pins, load_pins, newest_pinned
from etcdup.ops.install.wanted import SourceRequest, source_request
from etcdup.remote.host import Host

__all__ = [
    "BinaryArchive",
    "Pins",
    "cache_dir",
    "cached_versions",
    "load_pins",
    "newest_pinned",
    "obtain",
    "pack_local_package",
    "resolve",
    "this_arch",
]

# `auto` tries the nearest source first, and builds of a distribution last. It never builds from source.
_ORDER = {
    "auto": ("cache", "release", "package"),
    "release": ("cache", "release"),
    "package": ("package",),
    "go": ("go",),
    "path": ("path",),
    "host": ("host",),
}
_PLAN_AGAIN = "run the command again, which makes a new plan"
_FLAVOURS: dict[str, tuple[Flavour, ...]] = {"auto": ("", "+go"), "release": ("",)}

Resolver = Callable[[], Awaitable[Binaries]]


async def resolve(
    spec: Spec,
    folder: Path,
    arches: frozenset[str],
    hosts: Mapping[str, Host],
    seen: Mapping[str, HostSeen],
    *,
    cache: Path,
    report: Callable[[str], None],
) -> Binaries:
    """Return the binaries of the first source that has `spec.version` for all of `arches`.

    `folder` is that of cluster.yaml. Raises InstallError, which names each source that was tried, and its error. Raises
    RefusedError if no second fact proves the programs of a host.
    """
    wanted = source_request(spec, folder, arches, cache, report)
    resolvers: dict[str, Resolver] = {
        "cache": lambda: _resolve_cache(wanted, _FLAVOURS[wanted.source]),
        "release": lambda: _resolve_release(wanted),
        "package": lambda: resolve_package(wanted, spec, hosts, seen),
        "go": lambda: resolve_go(wanted),
        "path": lambda: resolve_path(wanted),
        "host": lambda: resolve_host(wanted, spec, hosts, seen),
    }
    tried: dict[str, InstallError] = {}
    for name in _ORDER[wanted.source]:
        try:
            return await resolvers[name]()
        except InstallError as error:
            tried[name] = error
    raise _not_available(wanted, tried)


async def obtain(
    binaries: Binaries,
    spec: Spec,
    folder: Path,
    arches: frozenset[str],
    *,
    cache: Path,
    report: Callable[[str], None],
    hosts: Mapping[str, Host] | None = None,
) -> dict[str, BinaryArchive]:
    """Return the archive for each architecture, from the source that `resolve` returned. Raises InstallError.

    If `resolve` returned a checksum, only an archive with this checksum is accepted. Programs of a host are copied from
    one of `hosts`.
    """
    wanted = source_request(spec, folder, arches, cache, report)
    if binaries.source == "package":
        return await obtain_package(wanted, spec)
    if binaries.source == "host":
        found = {arch: binaries.programs[arch] for arch in wanted.arches}
        return {
            arch: await obtain_host(wanted, arch, each, (hosts or {})[each.host])
            for arch, each in found.items()
        }
    return {arch: await _obtain(binaries, wanted, arch) for arch in wanted.arches}


async def _obtain(binaries: Binaries, wanted: SourceRequest, arch: str) -> BinaryArchive:
    expected = binaries.sha256.get(arch)
    if binaries.source == "release":
        if expected is None:
            raise InstallError(f"the plan has no checksum for {arch}", hint=_PLAN_AGAIN)
        from etcdup.ops.install.release import obtain_release

        return await obtain_release(wanted, arch, expected)
    if binaries.source == "cache":
        archive = _cached(wanted, arch, ("", "+go"), expected)
    elif binaries.source == "go":
        archive = await obtain_go(wanted, arch)
    else:
        archive = await obtain_path(wanted, arch)
    if expected is not None and archive.sha256 != expected:
        raise InstallError(
            f"{archive.path} changed after the plan was made: its sha256 is {archive.sha256}, not {expected}",
            hint=_PLAN_AGAIN,
        )
    return archive


async def _resolve_release(wanted: SourceRequest) -> Binaries:
    # This imports urllib, which the cache does not need.
    from etcdup.ops.install.release import resolve_release

    return await resolve_release(wanted)


async def _resolve_cache(wanted: SourceRequest, flavours: tuple[Flavour, ...]) -> Binaries:
    found = {arch: _cached(wanted, arch, flavours, None) for arch in wanted.arches}
    origin = ", ".join(sorted({str(archive.path) for archive in found.values()}))
    sums = {arch: archive.sha256 for arch, archive in found.items()}
    return Binaries(wanted.version, "cache", origin, "it is in the cache, and its checksum is verified", sums)


def _cached(
    wanted: SourceRequest, arch: str, flavours: tuple[Flavour, ...], settled: str | None
) -> BinaryArchive:
    """Return the archive in the cache, the upstream tarball first. Raises InstallError.

    Only a tarball with a trusted checksum is accepted as upstream's.
    """
    whys = []
    for flavour in flavours:
        found = find_trusted(wanted.cache, wanted.version, arch, flavour, wanted.sums)
        if isinstance(found, BinaryArchive) and settled in (None, found.sha256):
            return found
        whys.append(found if isinstance(found, str) else f"{found.path} is not the archive of the plan")
    raise InstallError("; ".join(whys), hint=_PLAN_AGAIN if settled else "")


def _not_available(wanted: SourceRequest, tried: Mapping[str, InstallError]) -> InstallError:
    """Return the error of the source that the operator chose, or one with the errors of all sources for `auto`."""
    *before, chosen = tried.values()
    if wanted.source != "auto":
        detail = "\n".join([*(str(error) for error in before), chosen.detail]).strip()
        return InstallError(chosen.message, detail=detail, hint=chosen.hint)
    with_path = "put the tarballs into a folder and set `install: {from: path, path: FOLDER}`"
    return InstallError(
        f"etcd {wanted.version} for {', '.join(wanted.arches)} is not available: tried {', '.join(tried)}",
        detail="\n".join(f"{name}: {error}" for name, error in tried.items()),
        hint="; or ".join([*(error.hint for error in tried.values() if error.hint), with_path]),
    )
