"""Compact the history on every member (rule 70)."""

from contextlib import suppress

from etcdup.core.members.quorum import healthy
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import CompactHistory
from etcdup.ops.world.observe_members import observe_members
from etcdup.ops.world.perform import Performer
from etcdup.remote.etcd.client import EtcdClient
from etcdup.remote.etcd.errors import Compacted, EtcdTimeout

REQUEST_S = 60.0


async def compact_history(performer: Performer, step: CompactHistory, observed: Observed) -> None:
    """Compact the history, and wait until each member has removed it from its database.

    All members apply the first request, and each removes the rows by itself. Only a request through a member waits for
    this member. Without that, its defragmentation would copy rows that the compaction has not removed yet.
    """
    for name in sorted(healthy(observed)):
        performer.reporter.doing(name, f"removing the history up to revision {step.revision}")
        while not await _has_compacted(performer, step, name, observed):
            performer.reporter.doing(name, "still removing the history; nothing else is begun")
        performer.reporter.doing(name, "")


async def _has_compacted(performer: Performer, step: CompactHistory, name: str, observed: Observed) -> bool:
    """Return False if the member needs more time. Raise EtcdTimeout if it is not healthy any more."""
    client = await performer.world.etcd(name)
    try:
        await performer.send_request(
            step.kind, name, f"to compact the history up to revision {step.revision}",
            lambda: _compact(client, step.revision),
        )  # fmt: skip
    except EtcdTimeout:
        if name not in healthy(await observe_members(performer.world, observed)):
            raise
        return False
    return True


async def _compact(client: EtcdClient, revision: int) -> None:
    with suppress(Compacted):
        await client.compact(revision, timeout_s=REQUEST_S)
