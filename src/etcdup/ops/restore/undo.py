"""What an undo by restore does first: it takes a snapshot of the data that the restore archived."""

import asyncio
from pathlib import Path

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.recovery.undo_by_restore import (
    archives_to_read,
    begun_undo,
    plan_archive_snapshot,
    with_archives,
)
from etcdup.ops.recovery.disk_salvage import measure_copy, read_last_entries
from etcdup.ops.recovery.recovery import find_by_sha256
from etcdup.ops.world.refusal import Planner
from etcdup.ops.world.world import World


async def find_undo_snapshot(world: World, observed: Observed) -> Path | None:
    """Return the file of the snapshot of the undo that is in progress, or None."""
    for marker in begun_undo(world.spec, observed)[:1]:
        if marker.restored:
            sha256 = marker.restored.sha256
            return await asyncio.to_thread(find_by_sha256, world.snapshots, "*-undo-*Z.db", sha256)
    return None


async def prepare_archive_snapshot(world: World, observed: Observed) -> tuple[Planner, Path]:
    """Return the planner of the snapshot, and the file that it will create. Changes nothing on any host."""
    spec, suffixes = world.spec, archives_to_read(world.spec, observed)
    archived = with_archives(observed, suffixes)
    logs = await read_last_entries(world, archived, suffixes)
    name = max(sorted(logs), key=lambda each: logs[each])
    size = await measure_copy(world, archived, name)
    path = world.snapshots / f"{spec.name}-undo-{name}-{observed.at:%Y%m%dT%H%M%SZ}.db"

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_archive_snapshot(spec, fresh, logs, str(path), size)

    return planner, path
