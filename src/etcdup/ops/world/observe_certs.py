"""Observe the certificates on hosts that are not those of the PKI."""

import asyncio

from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError, RemoteError
from etcdup.ops.world.world import World

# More than a certificate with its chain. A host may have anything there.
LEAF_BYTES = 65_536


async def observe_other_leaves(world: World, found: Observed) -> dict[str, CertSeen]:
    """Return the server certificates on hosts that are not the ones of the PKI, if a CA of the PKI signed them.

    etcdup does not read a host whose certificates are of a known change.
    """
    spec, seen = world.spec, found.reachable()
    paths = {name: layout_of(spec, world.host_spec(name)).cert("server") for name in seen}
    names = [name for name, path in paths.items() if _has_other_leaf(spec, seen[name], path, found.pki)]
    leaves = await asyncio.gather(*(_read_leaf(world, name, paths[name]) for name in names))
    return {name: leaf for name, leaf in zip(names, leaves, strict=True) if leaf is not None}


def _has_other_leaf(spec: Spec, seen: HostSeen, path: str, pki: PkiSeen) -> bool:
    file = seen.files.get(path)
    if pki.ca is None or file is None or not seen.is_marked(spec.name) or seen.pki_change in pki.changes:
        return False
    if seen.is_adopted:  # another tool issued its certificates
        return False
    return file.sha256 != pki.files.get(f"server/{seen.host}", ("", ""))[0]


async def _read_leaf(world: World, name: str, path: str) -> CertSeen | None:
    try:
        result = await world.hosts[name].run(("head", "-c", str(LEAF_BYTES), "--", path))
        return world.pki.see_leaf(result.stdout.encode())
    except (RemoteError, PkiError):
        return None
