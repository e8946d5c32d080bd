"""What recover does before it changes anything: it saves the data of every survivor on the operator's machine."""

import asyncio
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
from etcdup.ops.install.archive import sha256_of
from etcdup.ops.recovery.disk_salvage import measure_copy, read_last_entries
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


@dataclass(frozen=True)
class RecoverySource:
    """The survivor to rebuild from, and its snapshot. `salvaged`: taken from its disk, up to the end of its log."""

    host: str
    path: Path
    salvaged: bool = False


async def choose_source(
    world: World, observed: Observed, fenced: Collection[str], report: Report
) -> RecoverySource:
    """Return the source of a recovery that is in progress, or the survivor with the newest data.

    If a log has entries that no survivor has applied, use `prepare_salvage` instead. Raises RefusedError if the cluster
    must not be rebuilt, or not yet. Changes nothing on any host.
    """
    spec = world.spec
    if (begun := begun_recovery(spec, observed)) is not None:
        if reasons := refuse_unfenced(observed, fenced):
            raise_refusal(Refusal(spec.name, reasons))
        host, sha256 = begun
        return RecoverySource(host, await _find_snapshot(world, sha256))
    if reasons := refuse_recovery(spec, observed, fenced):
        raise_refusal(Refusal(spec.name, reasons))
    names = survivors(spec, observed)
    kept = await save_survivors(world, observed, report)
    return RecoverySource(names[0], kept[names[0]])


async def save_survivors(world: World, observed: Observed, report: Report) -> dict[str, Path]:
    """Save a snapshot of each survivor on this machine and return the files (rule 62)."""
    kept = {}
    for name in survivors(world.spec, observed):
        client, file = await world.connect_directly(name), _snapshot_file(observed, name)
        kept[name] = await save_snapshot(client, world.snapshots, file, report=report)
    return kept


async def read_logs_beyond_snapshots(world: World, observed: Observed) -> dict[str, LastEntry]:
    """Return the last entry of each reachable log, if one of them is newer than what any survivor has applied.

    This happens if the member does not answer, or if it has not recorded yet that its last entries are committed.
    Return nothing otherwise, and nothing while a recovery is in progress. Read-only.
    """
    spec = world.spec
    if begun_recovery(spec, observed) is not None:
        return {}
    applied = [observed.answering()[name].applied_index for name in survivors(spec, observed)]
    logs = await read_last_entries(world, observed, salvageable_hosts(spec, observed))
    return logs if logs and max(logs.values()).index > max(applied, default=-1) else {}


async def prepare_salvage(
    world: World,
    observed: Observed,
    logs: Mapping[str, LastEntry],
    fenced: Collection[str],
    report: Report,
) -> tuple[World, Planner, RecoverySource]:
    """Return a World of one host, and the planner and the source of a salvage.

    `logs` are from `read_logs_beyond_snapshots`.

    A snapshot that an earlier run kept is not used: the cluster may have had a quorum since. Raises RefusedError as
    `choose_source` does, and changes nothing on any host either.
    """
    spec = world.spec
    if reasons := refuse_recovery(spec, observed, fenced):
        raise_refusal(Refusal(spec.name, reasons))
    await save_survivors(world, observed, report)
    name, notes = newest_log(logs), salvage_notes(spec, observed, logs)
    chosen = RecoverySource(name, world.snapshots / _snapshot_file(observed, name), salvaged=True)
    size = await measure_copy(world, observed, name)
    one = world_of_one(world, observed, name, fenced)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_salvage(one.spec, observed, name, logs[name], str(chosen.path), size, notes)

    return one, planner, chosen


async def measure_copies(world: World, observed: Observed, token: str) -> dict[str, int]:
    """Return the bytes that a copy of the data still needs on each host. `world` is from `world_of_one`."""
    names = hosts_to_copy(world.spec, observed, token)

    async def measure(name: str) -> int:
        argv = size_argv(observed.reachable()[name], token)
        result = await world.hosts[name].run(argv, timeout_s=SIZE_TIMEOUT_S)
        return int(result.check().stdout) * 1024

    return dict(zip(names, await asyncio.gather(*map(measure, names)), strict=True))


def world_of_one(world: World, observed: Observed, name: str, fenced: Collection[str]) -> World:
    """Return a World of the same machines for a cluster of one host. All other hosts leave that cluster."""
    off = frozenset(fenced) & observed.unreachable().keys()
    known = {host.name: host for host in world.spec.hosts} | dict(observed.leaving)
    leaving = {each: host for each, host in known.items() if each != name and each not in off}
    return replace(world, spec=single_host_spec(world.spec, name), extra_hosts=leaving, fenced=off)


def _snapshot_file(observed: Observed, name: str) -> str:
    """Return the file name. The token in it distinguishes this cluster from the one that was rebuilt from it."""
    marker = observed.reachable()[name].marker
    return f"{marker.token if marker else 'unmarked'}-recover-{name}-{observed.at:%Y%m%dT%H%M%SZ}.db"


def find_by_sha256(folder: Path, pattern: str, sha256: str) -> Path | None:
    """Return the last file with this checksum, by its name, or None. It reads whole files: call it in a thread."""
    paths = sorted(folder.glob(pattern), reverse=True)
    return next((path for path in paths if sha256_of(path) == sha256), None)


async def _find_snapshot(world: World, sha256: str) -> Path:
    """Return the file of the snapshot that a recovery in progress was started with."""
    if path := await asyncio.to_thread(find_by_sha256, world.snapshots, "*-recover-*Z.db", sha256):
        return path
    raise RefusedError(
        f"a restore is not finished, and its snapshot (sha256 {sha256[:12]}) is not one that `recover` saved in "
        f"{world.snapshots}",
        hint="finish that restore first: run `etcdup restore` with the snapshot that it was started with. If it was an "
        "`etcdup recover` on another machine, run it there again",
    )
