"""Read the times of the backups and the sizes of their databases, for the growth. No member is read for it."""

from datetime import datetime
from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.backups.destinations import existing_destinations, list_destinations, open_destinations
from etcdup.ops.backups.trust import Trust

# `check` must not wait long for a destination that does not respond.
_LIST_S = 2.0
Sizes = tuple[tuple[datetime, int], ...]


async def read_backup_sizes(spec: Spec, folder: Path) -> tuple[Sizes, str]:
    """Return the time and the size of each usable backup, or why no backup could be listed.

    `folder` is that of cluster.yaml.
    """
    existing = await existing_destinations(spec.backup, folder)
    if not existing.to:
        return (), ""
    try:
        destinations, trust = open_destinations(existing, folder), Trust.of(spec, folder)
        contents = await list_destinations(destinations, spec.name, trust, within_s=_LIST_S)
    except EtcdupError as error:
        return (), error.message
    return tuple((each.taken_at, each.manifest.size) for each in contents.usable if each.manifest), ""
