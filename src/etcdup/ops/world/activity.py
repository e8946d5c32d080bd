"""Observe what each member does with its database, so that a backup and a defragmentation keep apart."""

import asyncio
from dataclasses import replace

from etcdup.core.audit.process_settings import process_settings
from etcdup.core.backups.backups import defragmenting
from etcdup.core.observed.activity import Activity, parse_activity
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.errors import EtcdupError
from etcdup.ops.world.metrics import NoMetrics
from etcdup.ops.world.world import World


async def observe_activity(world: World, observed: Observed) -> Observed:
    """Return the observation with the activity of each member that runs. Without readable metrics it is not known."""
    running = observed.running()
    found = await asyncio.gather(*(_read_activity(world, name, seen) for name, seen in running.items()))
    known = {name: each for name, each in zip(running, found, strict=True) if each is not None}
    return replace(observed, activity=known)


async def _read_activity(world: World, name: str, seen: HostSeen) -> Activity | None:
    settings = process_settings((), seen.unit.environment)
    # The settings of a member that etcdup did not set up may be arguments. Its client port has the metrics, too.
    settings.setdefault("listen-client-urls", world.spec.client_url(world.host_spec(name)))
    try:
        return parse_activity(await world.read_metrics(name, settings))
    except NoMetrics:
        return None


def no_source(observed: Observed) -> EtcdupError:
    """Return the error if no member can send a snapshot now."""
    if busy := defragmenting(observed):
        return EtcdupError(
            f"no member can send a snapshot now: {', '.join(busy)} is being defragmented",
            hint="wait until the defragmentation has ended, then run the same command again",
        )
    return EtcdupError(
        "no member is healthy enough to send a snapshot", hint="run `etcdup status` to see why"
    )
