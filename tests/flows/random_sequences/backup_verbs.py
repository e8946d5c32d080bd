"""The snapshots of a random sequence: one is taken from a member, and restored later.

The rest of `backup now`, `backup prune`, `backup log` and `restore --revision` reads real databases, which the fakes do
not have (tests/cli/backups, tests/cli/restore). For the plan, `--revision` is a restore of another file than before.
"""

from pathlib import Path

from etcdup.core.backups.backups import backup_source
from etcdup.core.plan.plan import Refusal
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.errors import RefusedError
from etcdup.ops.world.activity import observe_activity
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from tests.flows.random_sequences.verbs import Operator, Verb, restore_backup, restore_file
from tests.flows.random_sequences.watched_network import WatchedNetwork
from tests.flows.test_restore import snapshot_in

REQUEST_S = 30.0
CHECKSUM_SIZE = 32


def _file(folder: Path) -> Path:
    """Return the backup, which all operators share."""
    return folder.with_name("backup.db")


async def take_backup(operator: Operator) -> None:
    """Choose a member as `backup now` does. Its snapshot must have each write that was acknowledged before."""
    world = operator.world()
    observed = await observe(world)
    if under_way := refuse_unfinished_restore(operator.spec, observed):
        raise_refusal(Refusal(operator.spec.name, under_way))
    member = backup_source(await observe_activity(world, observed))
    if member is None:
        raise RefusedError("no member can be backed up")
    client = await world.connect_directly(member)
    await client.get(b"canary", timeout_s=REQUEST_S)
    acknowledged = _acknowledged(operator)
    content = b"".join([piece async for piece in client.snapshot(timeout_s=REQUEST_S)])[:-CHECKSUM_SIZE]
    missing = [key for key in acknowledged if key + b"=" not in content]
    assert not missing, f"the backup from {member} has no {missing[:3]}"
    _file(operator.folder).write_bytes(content)


def _acknowledged(operator: Operator) -> set[bytes]:
    network = operator.network
    assert isinstance(network, WatchedNetwork)
    return {key for each in network.serving() for key in network.acknowledged.get(each.cluster_id, set())}


async def restore_taken(operator: Operator) -> None:
    """Run `restore latest`: another file than that of the verb `restore`."""
    file = _file(operator.folder)
    if not file.exists():
        raise RefusedError("there is no backup")
    await restore_file(operator, snapshot_in(operator.folder, content=file.read_bytes()))


def unfinished_restores(*, latest_first: bool) -> list[tuple[str, Verb]]:
    """Return the restores that may be unfinished, the more likely one first."""
    restores: list[tuple[str, Verb]] = [("restore", restore_backup), ("restore latest", restore_taken)]
    return restores[::-1] if latest_first else restores
