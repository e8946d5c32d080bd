"""Read from etcd which users the clients of the cluster are."""

from etcdup.core.certs.user_access import UserRoles, users_to_read
from etcdup.core.observed.model import Observed
from etcdup.errors import EtcdupError
from etcdup.ops.world.world import World

TIMEOUT_S = 5.0


async def read_users(world: World, observed: Observed) -> tuple[bool, UserRoles]:
    """Return whether the users of etcd are enabled, and the roles of etcdup and of each kube-apiserver.

    Without an answer of etcd there are no roles, and the users count as not enabled.
    """
    roles: dict[str, tuple[str, ...] | None] = {}
    for name, seen in observed.answering().items():
        if seen.is_learner or not seen.leader_id:
            continue
        try:
            client = await world.etcd(name)
            enabled = await client.is_auth_enabled(timeout_s=TIMEOUT_S)
            for user in users_to_read(world.spec, world.pki.observe()):
                roles[user] = await client.user_roles(user, timeout_s=TIMEOUT_S)
        except EtcdupError:
            continue
        return enabled, roles
    return False, {}
