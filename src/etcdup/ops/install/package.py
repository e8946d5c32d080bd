"""The packages that the package managers of hosts offer. Hosts install them themselves (core/host/packages.py)."""

import asyncio
from collections.abc import Mapping

from etcdup.core.host.packages import (
    Candidate,
    candidate_command,
    manager_of,
    parse_candidate,
    refresh_command,
)
from etcdup.core.observed.binaries import Binaries
from etcdup.core.observed.host import HostSeen
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import Version
from etcdup.errors import InstallError, RemoteError
from etcdup.ops.install.archive import BinaryArchive
from etcdup.ops.install.elf import this_arch
from etcdup.ops.install.package_here import pack_local_package, query_local_package
from etcdup.ops.install.wanted import SourceRequest
from etcdup.remote.host import Host

_ASK_TIMEOUT_S = 60.0
_REFRESH_TIMEOUT_S = 300.0

Offer = Candidate | str
"""The package that is offered, or the reason why there is none."""


async def resolve_package(
    wanted: SourceRequest, spec: Spec, hosts: Mapping[str, Host], seen: Mapping[str, HostSeen]
) -> Binaries:
    """Return the packages as the source of the binaries.

    Raises InstallError unless the package manager of each host without this version offers exactly this version.
    """
    missing = [name for name in seen if name in hosts and str(wanted.version) not in seen[name].versions]
    if not missing:
        raise InstallError("no host is reachable whose package manager etcdup can query")
    asked = [
        _query_offer_here(wanted)
        if spec.host(name).root
        else _query_offer(hosts[name], seen[name], wanted.version)
        for name in missing
    ]
    offers = dict(zip(missing, await asyncio.gather(*asked), strict=True))
    if not all(isinstance(offer, Candidate) and offer.version == wanted.version for offer in offers.values()):
        raise _not_offered(wanted.version, seen, offers)
    texts = sorted({offer.text for offer in offers.values() if isinstance(offer, Candidate)})
    why = f"the package managers of the hosts offer it ({', '.join(texts)}) and verify it"
    return Binaries(wanted.version, "package", "the distribution of the hosts", why)


async def obtain_package(wanted: SourceRequest, spec: Spec) -> dict[str, BinaryArchive]:
    """Return archives for local members. Other hosts download packages themselves."""
    if not any(host.root for host in spec.hosts):
        return {}
    version, archive = await pack_local_package(this_arch(), cache=wanted.cache, report=wanted.report)
    if version != wanted.version:
        raise InstallError(f"the distribution of this machine has etcd {version}, not {wanted.version}")
    return {archive.arch: archive}


async def _query_offer(host: Host, seen: HostSeen, version: Version) -> Offer:
    """Return what the package manager offers. Package lists without the version may be old: they are updated once."""
    manager = manager_of(seen.distribution)
    if manager is None:
        return f"etcdup supports no package manager of `{seen.distribution}`"
    try:
        offered = await _query(host, manager)
        if offered is None or offered.version != version:
            await host.run(refresh_command(manager), timeout_s=_REFRESH_TIMEOUT_S)
            offered = await _query(host, manager)
    except RemoteError as error:
        return str(error)
    return offered or f"{manager} has no package of etcd"


async def _query(host: Host, manager: str) -> Candidate | None:
    result = await host.run(candidate_command(manager), timeout_s=_ASK_TIMEOUT_S)
    return parse_candidate(manager, result.stdout)


async def _query_offer_here(wanted: SourceRequest) -> Offer:
    try:
        return await query_local_package(wanted.report)
    except InstallError as error:
        return str(error)


def _not_offered(version: Version, seen: Mapping[str, HostSeen], offers: Mapping[str, Offer]) -> InstallError:
    lines = []
    for name, offer in offers.items():
        system = f"{seen[name].distribution} {seen[name].distribution_version}"
        lines.append(f"{name} ({system}): {offer if isinstance(offer, str) else f'offers {offer.text}'}")
    versions = {offer.version if isinstance(offer, Candidate) else None for offer in offers.values()}
    (common,) = versions if len(versions) == 1 else (None,)
    hint = f"write `version: {common}` into cluster.yaml: all of them offer it" if common else ""
    return InstallError(f"the hosts offer no packages of etcd {version}: {'; '.join(lines)}", hint=hint)
