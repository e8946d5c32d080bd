"""What hosts' own package managers offer. A real host installs it by itself (core/host/packages.py)."""

import asyncio
from collections.abc import Mapping

from etcdup.core.host.packages import (
    Candidate,
    candidate_command,
    manager_of,
    parse_candidate,
    refresh_command,
)
from etcdup.core.observed.model import Binaries, HostSeen
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
"""What is offered, or why nothing is."""


async def resolve_package(
    wanted: SourceRequest, spec: Spec, hosts: Mapping[str, Host], seen: Mapping[str, HostSeen]
) -> Binaries:
    """Raises InstallError unless every host that lacks the version is offered just it."""
    lacking = [name for name in seen if name in hosts and str(wanted.version) not in seen[name].versions]
    if not lacking:
        raise InstallError("there is no host within reach whose packages could be asked for")
    asked = [
        _query_offer_here(wanted)
        if spec.host(name).root
        else _query_offer(hosts[name], seen[name], wanted.version)
        for name in lacking
    ]
    offers = dict(zip(lacking, await asyncio.gather(*asked), strict=True))
    if not all(isinstance(offer, Candidate) and offer.version == wanted.version for offer in offers.values()):
        raise _not_offered(wanted.version, seen, offers)
    texts = sorted({offer.text for offer in offers.values() if isinstance(offer, Candidate)})
    why = f"the hosts' package managers offer it ({', '.join(texts)}) and verify it"
    return Binaries(wanted.version, "package", "the hosts' distribution", why)


async def obtain_package(wanted: SourceRequest, spec: Spec) -> dict[str, BinaryArchive]:
    """Archives for members that live in a folder of their own; other hosts fetch packages themselves."""
    if not any(host.root for host in spec.hosts):
        return {}
    version, archive = await pack_local_package(this_arch(), cache=wanted.cache, report=wanted.report)
    if version != wanted.version:
        raise InstallError(f"this machine's distribution has etcd {version}, not {wanted.version}")
    return {archive.arch: archive}


async def _query_offer(host: Host, seen: HostSeen, version: Version) -> Offer:
    """Lists without the version may be old, or never fetched: they are fetched once before that counts."""
    manager = manager_of(seen.distribution)
    if manager is None:
        return f"etcdup knows no package manager of `{seen.distribution}`"
    try:
        offered = await _query(host, manager)
        if offered is None or offered.version != version:
            await host.run(refresh_command(manager), timeout_s=_REFRESH_TIMEOUT_S)
            offered = await _query(host, manager)
    except RemoteError as error:
        return str(error)
    return offered or f"{manager} knows no package of etcd"


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
    hint = f"`version: {common}` is what all of them offer" if common else ""
    return InstallError(f"the hosts' packages are not etcd {version}: {'; '.join(lines)}", hint=hint)
