"""What recover does before anything is changed: every survivor's data is kept on the operator's machine."""

import asyncio
import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from etcdup.core.cold_copy import SIZE_TIMEOUT_S, size_argv, to_copy
from etcdup.core.observed import Observed
from etcdup.core.plan import Refusal
from etcdup.core.recovery import against_recovery, alone, begun, not_fenced, survivors
from etcdup.errors import RefusedError
from etcdup.ops.apply import raise_refusal
from etcdup.ops.snapshot import Report, keep_snapshot
from etcdup.ops.world import World


@dataclass(frozen=True)
class Chosen:
    """The survivor to go on from, and its data. `earlier`: kept by an earlier run, since it does not answer now."""

    host: str
    path: Path
    earlier: bool = False


async def choose(world: World, observed: Observed, fenced: Collection[str], report: Report) -> Chosen:
    """Raises RefusedError where nothing is to be rebuilt, or not yet. Changes nothing on any host."""
    spec = world.spec
    if (going := begun(spec, observed)) is not None:
        if reasons := not_fenced(observed, fenced):
            raise_refusal(Refusal(spec.name, reasons))
        return Chosen(going[0], await _find(world, going[1]))
    before = kept_before(world, observed)
    if reasons := against_recovery(spec, observed, fenced, before):
        raise_refusal(Refusal(spec.name, reasons))
    names = survivors(spec, observed)
    if not names:
        host = max(before, key=lambda name: before[name].name[-len("20260101T000000Z.db") :])
        return Chosen(host, before[host], earlier=True)
    kept = {}
    for name in names:
        file = f"{_beginning(observed, name)}{observed.at:%Y%m%dT%H%M%SZ}.db"
        kept[name] = await keep_snapshot(await world.straight(name), world.snapshots, file, report=report)
    return Chosen(names[0], kept[names[0]])


def kept_before(world: World, observed: Observed) -> dict[str, Path]:
    """The newest that earlier runs kept of each host that can be reached: of this very cluster, as its mark says."""
    ours = [
        host.name
        for host in world.spec.hosts
        if (seen := observed.reachable().get(host.name)) and seen.marker and seen.has_member
    ]
    found = {name: sorted(world.snapshots.glob(f"{_beginning(observed, name)}*Z.db")) for name in ours}
    return {name: paths[-1] for name, paths in found.items() if paths}


async def sizes_of_copies(world: World, observed: Observed, token: str) -> dict[str, int]:
    """In bytes, by host: what a copy of its data has yet to take there. `world` is from `world_of_one`."""
    names = to_copy(world.spec, observed, token)

    async def size(name: str) -> int:
        argv = size_argv(observed.reachable()[name], token)
        said = await world.hosts[name].run(argv, timeout_s=SIZE_TIMEOUT_S)
        return int(said.check().stdout) * 1024

    return dict(zip(names, await asyncio.gather(*map(size, names)), strict=True))


def world_of_one(world: World, observed: Observed, name: str, fenced: Collection[str]) -> World:
    """The same machines, with a cluster of one host in mind: all the others are on their way out of it."""
    off = frozenset(fenced) & observed.unreachable().keys()
    places = {host.name: host for host in world.spec.hosts} | dict(observed.leaving)
    met = {each: host for each, host in places.items() if each != name and each not in off}
    return replace(world, spec=alone(world.spec, name), met=met, fenced=off)


def _beginning(observed: Observed, name: str) -> str:
    """The token tells this cluster from the one that was rebuilt in its place."""
    mark = observed.reachable()[name].marker
    return f"{mark.token if mark else 'unmarked'}-recover-{name}-"


async def _find(world: World, sha256: str) -> Path:
    """The snapshot that a recovery was begun with."""
    for path in sorted(world.snapshots.glob("*-recover-*Z.db"), reverse=True):
        if await asyncio.to_thread(_sha256, path) == sha256:
            return path
    raise RefusedError(
        f"a restore was begun, and its snapshot (sha256 {sha256[:12]}) is none of recover's in {world.snapshots}",
        hint="finish it with `etcdup restore` and the snapshot that it was begun with",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
