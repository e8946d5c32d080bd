"""Compare the data of all members, before something is built on it. It only reads."""

from etcdup.core.adopt.equal_data import refuse_different_data
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refusal
from etcdup.ops.audit.gather import read_hashes
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World


async def require_equal_data(world: World, observed: Observed) -> None:
    """Raise RefusedError if the data of the members is not proved to be the same.

    Each member computes a hash, one after the other and the leader last. A single member is not blocked for a hash that
    is compared with no other one.
    """
    if len(observed.answering()) < 2:
        return
    if refused := refuse_different_data(await read_hashes(world, observed)):
        raise_refusal(Refusal(world.spec.name, refused))
