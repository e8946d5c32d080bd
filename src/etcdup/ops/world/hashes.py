"""Read the hashes of the data of members, one member after the other.

For a hash, etcd reads its whole database, and applies no entry meanwhile (hashByRev in mvcc/kvstore.go). The clients of
this member wait. If all members did that at the same time, all clients of the cluster would wait.
"""

import asyncio
from collections.abc import Mapping

from etcdup.core.observed.member import MemberSeen
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdRefused, EtcdRpcError, EtcdTimeout

STATUS_S = 10.0
# A member reads 1 GiB in 2 to 5 s. The rest of the time is for slow disks.
HASH_S = 10.0
HASH_S_PER_GIB = 30.0
_COMPACTED = "required revision has been compacted"


async def read_hashes_in_turn(clients: Mapping[str, EtcdClient]) -> dict[str, KvHash | EtcdRpcError]:
    """Return the hash of each member at the newest revision that all of them have, or its error. The leader is last.

    A member that does not answer in time may still compute its hash. The next members are then not requested.
    """
    found: dict[str, KvHash | EtcdRpcError] = {}
    seen: dict[str, MemberSeen] = {}
    statuses = await asyncio.gather(*(_read_status(client) for client in clients.values()))
    for name, status in zip(clients, statuses, strict=True):
        if isinstance(status, MemberSeen):
            seen[name] = status
        else:
            found[name] = status
    revision, late = min((each.revision for each in seen.values()), default=0), ""
    for name in sorted(seen, key=lambda name: seen[name].leader_id == seen[name].member_id):
        if late:
            found[name] = EtcdTimeout(name, f"no hash was requested: {late} may still compute its own")
            continue
        try:
            found[name] = await _read_hash(clients[name], revision, seen[name].db_size)
        except EtcdRpcError as error:
            found[name] = error
            late = name if isinstance(error, EtcdTimeout) else ""
    if not late:
        await _compute_stored_hashes(clients, found, seen)
    return {name: found[name] for name in clients}


async def _compute_stored_hashes(
    clients: Mapping[str, EtcdClient], found: dict[str, KvHash | EtcdRpcError], seen: Mapping[str, MemberSeen]
) -> None:
    """Replace the hashes that members stored at their last compaction, if other members computed theirs.

    At the revision of the last compaction, 3.5 and later return the stored hash, with the compaction before that one.
    A member that has restarted since has none. Without a revision, each computes its hash (hash.go in mvcc). After a
    member that does not answer in time, no other member is requested.
    """
    newest = max((each.compact_revision for each in found.values() if isinstance(each, KvHash)), default=0)
    for name, each in found.items():
        if isinstance(each, KvHash) and each.compact_revision < newest == each.hash_revision:
            try:
                computed = await clients[name].hash_kv(timeout_s=_timeout_s(seen[name].db_size))
            except EtcdTimeout as late:
                found[name] = late
                return
            except EtcdRpcError:
                continue
            found[name] = computed if computed.hash_revision == newest else each


def _timeout_s(size: int) -> float:
    return HASH_S + HASH_S_PER_GIB * size / 1024**3


async def _read_status(client: EtcdClient) -> MemberSeen | EtcdRpcError:
    try:
        return await client.status(timeout_s=STATUS_S)
    except EtcdRpcError as error:
        return error


async def _read_hash(client: EtcdClient, revision: int, size: int) -> KvHash:
    """Return the hash at this revision.

    3.4 refuses the newest revision if it was just compacted. It accepts a request that names no revision.
    """
    timeout_s = _timeout_s(size)
    try:
        return await client.hash_kv(revision, timeout_s=timeout_s)
    except EtcdRefused as refused:
        if _COMPACTED not in refused.message:
            raise
        found = await client.hash_kv(timeout_s=timeout_s)
        if found.hash_revision != revision:
            raise
        return found
