"""Where the programs of etcd come from that hosts still need, and the archives with them."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refusal
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.core.versions.advisories import refuse_version
from etcdup.core.versions.version_steps import versions_ahead
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World
from etcdup.remote.host import Host

Report = Callable[[str], None]


async def resolve_binaries(world: World, observed: Observed, folder: Path, report: Report) -> Observed:
    """Find out where each version comes from that a host does not have yet. Raises InstallError or RefusedError.

    During a change of the minor version there may be several versions.
    """
    wanted = {host.name for host in world.spec.hosts}
    seen = {name: host for name, host in observed.reachable().items() if name in wanted}
    resolved = []
    for version in versions_ahead(world.spec, observed):
        arches = frozenset(host.arch for host in seen.values() if str(version) not in host.versions)
        if arches:
            resolved.append(await _resolve(world, world.spec.at(version), seen, arches, folder, report))
    world.binaries = tuple(resolved)
    return replace(observed, binaries=world.binaries)


async def _resolve(
    world: World,
    spec: Spec,
    seen: Mapping[str, HostSeen],
    arches: frozenset[str],
    folder: Path,
    report: Report,
) -> Binaries:
    if spec.install.source in ("release", "go") and (bad := refuse_version(spec, vouched=False)):
        raise_refusal(Refusal(spec.name, tuple(bad)))
    # The import takes 50 ms, for everything that downloads need. Most runs need no download.
    from etcdup.ops.install import install

    return await install.resolve(
        spec, folder, arches, world.hosts, seen, cache=install.cache_dir(), report=report
    )


class Archives:
    """etcd's archive for each version and architecture. It is obtained once, and all hosts that need it wait."""

    def __init__(self, spec: Spec, folder: Path, report: Report, hosts: Mapping[str, Host]) -> None:
        self._spec = spec
        self._folder = folder
        self._report = report
        self._hosts = hosts
        self._paths: dict[tuple[str, Version], Path] = {}
        self._obtaining: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def obtain(self, binaries: Binaries, arch: str) -> Path:
        """Return the path of the archive on this machine. Raises InstallError."""
        async with self._obtaining[arch]:
            key = (arch, binaries.version)
            if key not in self._paths:
                from etcdup.ops.install import install

                found = await install.obtain(
                    binaries,
                    self._spec.at(binaries.version),
                    self._folder,
                    frozenset((arch,)),
                    cache=install.cache_dir(),
                    report=self._report,
                    hosts=self._hosts,
                )
                self._paths[key] = found[arch].path
            return self._paths[key]
