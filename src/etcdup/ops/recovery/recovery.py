"""What recover does before anything is changed: every survivor's data is kept on the operator's machine."""

import asyncio
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from etcdup.core.etcd.wal import LastEntry
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.recovery.disk_salvage import newest_log, plan_salvage, salvage_notes, salvageable_hosts
from etcdup.core.recovery.recovery import (
    begun_recovery,
    refuse_recovery,
    refuse_unfenced,
    single_host_spec,
    survivors,
)
from etcdup.core.restore.data_copy import SIZE_TIMEOUT_S, hosts_to_copy, size_argv
from etcdup.errors import RefusedError
from etcdup.ops.backups.snapshot import Report, save_snapshot
from etcdup.ops.recovery.disk_salvage import measure_copy, read_last_entries
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class RecoverySource:
    """The survivor to go on from, and its data. `salvaged`: off its disk, to the end of its log."""

    host: str
    path: Path
    salvaged: bool = False


async def choose_source(
    world: World, observed: Observed, fenced: Collection[str], report: Report
) -> RecoverySource:
    """Where a recovery was begun, or a survivor's snapshot is all that there is: else see `to_salvage`. Raises
    RefusedError where nothing is to be rebuilt, or not yet. Changes nothing on any host."""
    spec = world.spec
    if (going := begun_recovery(spec, observed)) is not None:
        if reasons := refuse_unfenced(observed, fenced):
            raise_refusal(Refusal(spec.name, reasons))
        return RecoverySource(going[0], await _find_snapshot(world, going[1]))
    if reasons := refuse_recovery(spec, observed, fenced):
        raise_refusal(Refusal(spec.name, reasons))
    names = survivors(spec, observed)
    kept = await save_survivors(world, observed, report)
    return RecoverySource(names[0], kept[names[0]])


async def save_survivors(world: World, observed: Observed, report: Report) -> dict[str, Path]:
    """A snapshot of each, on this machine (rule 62)."""
    kept = {}
    for name in survivors(world.spec, observed):
        client, file = await world.connect_directly(name), _snapshot_file(observed, name)
        kept[name] = await save_snapshot(client, world.snapshots, file, report=report)
    return kept


async def read_logs_beyond_snapshots(world: World, observed: Observed) -> dict[str, LastEntry]:
    """How far the logs within reach go, where one goes further than what a survivor has applied: since its member does
    not answer, or has not heard yet that others have its last entries too. Else nothing, as where a recovery was begun.
    Read-only."""
    spec = world.spec
    applied = [observed.answering()[name].applied_index for name in survivors(spec, observed)]
    if begun_recovery(spec, observed) is not None:
        return {}
    logs = await read_last_entries(world, observed, salvageable_hosts(spec, observed))
    return logs if logs and max(logs.values()).index > max(applied, default=-1) else {}


async def prepare_salvage(
    world: World,
    observed: Observed,
    logs: Mapping[str, LastEntry],
    fenced: Collection[str],
    report: Report,
) -> tuple[World, Planner, RecoverySource]:
    """How the newest data is taken off its disk, and what is chosen by that; `logs` are from `beyond_snapshots`. What
    an earlier run kept is not gone by: there may have been a quorum since. Raises RefusedError as `choose` does, and
    like it changes nothing on any host."""
    spec = world.spec
    if reasons := refuse_recovery(spec, observed, fenced):
        raise_refusal(Refusal(spec.name, reasons))
    await save_survivors(world, observed, report)
    name, told = newest_log(logs), salvage_notes(spec, observed, logs)
    chosen = RecoverySource(name, world.snapshots / _snapshot_file(observed, name), salvaged=True)
    size = await measure_copy(world, observed, name)
    one = world_of_one(world, observed, name, fenced)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_salvage(one.spec, observed, name, logs[name], str(chosen.path), size, told)

    return one, planner, chosen


async def measure_copies(world: World, observed: Observed, token: str) -> dict[str, int]:
    """In bytes, by host: what a copy of its data has yet to take there. `world` is from `world_of_one`."""
    names = hosts_to_copy(world.spec, observed, token)

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
    return replace(world, spec=single_host_spec(world.spec, name), extra_hosts=met, fenced=off)


def _snapshot_file(observed: Observed, name: str) -> str:
    """The token tells this cluster from the one that was rebuilt in its place."""
    mark = observed.reachable()[name].marker
    return f"{mark.token if mark else 'unmarked'}-recover-{name}-{observed.at:%Y%m%dT%H%M%SZ}.db"


async def _find_snapshot(world: World, sha256: str) -> Path:
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
