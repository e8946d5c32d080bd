"""A snapshot of a member for `maintain space --live`, and before `maintain fix-space` and `maintain repair`.

The member sends one snapshot. Its keys are not read through the API, because that would load the cluster.
"""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.core.backups.backups import backup_source
from etcdup.core.observed.model import Observed
from etcdup.ops.backups.snapshot import Report, save_snapshot
from etcdup.ops.world.activity import no_source, observe_activity
from etcdup.ops.world.world import World

_FILE = "live.db"


async def snapshot_follower(
    world: World, observed: Observed, folder: Path, report: Report
) -> tuple[str, Path]:
    """Save a snapshot of a follower, and return the member and the path. Raises EtcdupError."""
    return await _snapshot(world, observed, folder, _FILE, report)


async def _snapshot(
    world: World, observed: Observed, folder: Path, name: str, report: Report
) -> tuple[str, Path]:
    observed = await observe_activity(world, observed)
    member = backup_source(observed)
    if member is None:
        raise no_source(observed)
    client = await world.connect_directly(member)
    return member, await save_snapshot(client, folder, name, report=report)


async def save_before(verb: str, world: World, observed: Observed, at: datetime, report: Report) -> Path:
    """Save the data of a follower in the folder for snapshots, before a verb of maintenance changes the cluster."""
    name = f"{world.spec.name}-before-{verb}-{at.astimezone(UTC):%Y%m%dT%H%M%SZ}.db"
    return (await _snapshot(world, observed, world.snapshots, name, report))[1]
