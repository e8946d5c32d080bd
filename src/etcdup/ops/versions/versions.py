"""Waiting for what members agree on when their version changes, and telling etcd to go down a minor.

A minor is written as steps have it, `3.6`. What etcd does here, and how long it takes, is tried on real members
in tests/local/test_etcd_versions.py: each wait below ends within 4 s there.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from etcdup.core.observed.model import MemberSeen
from etcdup.errors import EtcdupError
from etcdup.ops.polling import Clock
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdRefused, EtcdRpcError

Clients = Mapping[str, EtcdClient]

CALL_S = 10.0
POLL_S = 0.2
# A member writes its raft snapshot beside its other work, soon after the entry that made it due.
SNAPSHOT_S = 20.0
# A difference counts when it was seen so often: a member may be in the middle of a compaction.
_DIFFERENCES = 3
# How many empty entries are on their way at once; more makes it no faster on loopback.
_ENTRIES_AT_ONCE = 64
# What etcdutl says where the log is all that is wrong.
_IN_LOG = "detected custom v2 content in WAL records"
_NOT_BELOW = "invalid downgrade target version"
_IN_PROGRESS = "downgrade job in progress"


async def read_cluster_version(client: EtcdClient, *, timeout_s: float = CALL_S) -> str:
    """The minor that the cluster as a whole has agreed on, like `3.5`: the lowest among its members, until a few
    seconds after the last one has left it.

    etcd's API tells it by the way: a downgrade to the minor below is valid, and to no other. 3.4 does not know that
    call, but a member of it runs in a cluster of 3.4 only.
    """
    own = (await client.status(timeout_s=timeout_s)).version
    if own.series <= (3, 4):
        return "3.4"
    for minor in (own.minor, own.minor - 1, own.minor):  # it may rise between the first two questions
        if await _is_below(client, f"{own.major}.{minor - 1}.0", timeout_s):
            return f"{own.major}.{minor}"
    raise EtcdupError(f"{client.name} does not tell the cluster's version", hint="`etcdup status` shows more")


async def wait_for_cluster_version(
    clients: Clients, minor: str, *, clock: Clock, timeout_s: float = 60.0
) -> None:
    """Until every member knows the cluster to be of this minor."""

    async def against(client: EtcdClient) -> str:
        found = await read_cluster_version(client)
        return "" if found == minor else f"the cluster's version is {found} to it"

    await _wait_until(clients, against, f"the cluster did not become one of {minor}", clock, timeout_s)


async def wait_for_storage_version(
    clients: Clients, minor: str, *, clock: Clock, timeout_s: float = 60.0
) -> None:
    """Until every member's data has the form of this minor: before that, no older binary may open it (rule 49).

    Members before 3.6 do not tell it, and have one form only.
    """

    async def against(client: EtcdClient) -> str:
        seen = await client.status(timeout_s=CALL_S)
        if not _can_report_downgrade(seen) or seen.storage_version.startswith(f"{minor}."):
            return ""
        return f"its data has the form of {seen.storage_version or 'no version yet'}"

    await _wait_until(
        clients, against, f"the members' data did not take the form of {minor}", clock, timeout_s
    )


async def wait_for_downgrade_end(clients: Clients, *, clock: Clock, timeout_s: float = 60.0) -> None:
    """Until no member speaks of a downgrade any more: etcd ends it by itself once all members run its target."""

    async def against(client: EtcdClient) -> str:
        seen = await client.status(timeout_s=CALL_S)
        return f"it is still on its way down to {seen.downgrade_to}" if seen.downgrade_to else ""

    await _wait_until(clients, against, "etcd did not end its downgrade", clock, timeout_s)


async def enable_downgrade(clients: Clients, minor: str) -> None:
    """The cluster is told to go down to this minor (rule 47). Does nothing where it is told so already.

    A downgrade before this one, that etcd has not ended yet, is ended: it takes one at a time.
    """
    client, seen = await _find_newest(clients)
    if seen.downgrade_to.startswith(f"{minor}."):
        return
    await cancel_downgrade(clients)
    await client.downgrade("enable", f"{minor}.0", timeout_s=CALL_S)


async def cancel_downgrade(clients: Clients) -> None:
    """The cluster is told to stay, or to go up again with its newest members. Does nothing where it is not on its
    way down."""
    client, seen = await _find_newest(clients)
    if seen.downgrade_to:
        await client.downgrade("cancel", "", timeout_s=CALL_S)


async def compare_hashes(clients: Clients, *, clock: Clock, timeout_s: float = 30.0) -> str:
    """Empty, or who holds other data than the rest at one and the same revision (rules 80-82).

    Asked again while members are at different compactions, where their hashes cannot be compared.
    """
    ends = clock.now() + timeout_s
    differing, why = 0, "no two members"
    while True:
        try:
            hashes = await _read_hashes(clients)
        except EtcdRpcError as error:
            why = error.message
        else:
            why = "the members are at different compactions"
            if len({each.compact_revision for each in hashes.values()}) == 1:
                if not (who := _who_differs(hashes)):
                    return ""
                differing += 1
                if differing == _DIFFERENCES:
                    return who
        if clock.now() >= ends:
            raise EtcdupError(
                f"the members' data could not be compared within {timeout_s:g} s: {why}",
                hint="apply again: it goes on from here",
            )
        await clock.sleep(POLL_S)


async def ensure_no_v2_data(
    look: Callable[[], Awaitable[tuple[int, str]]], clients: Clients, entries: int, *, clock: Clock
) -> None:
    """Returns once a member's data and log are free of what 3.6 does not read (rule 44).

    `look` runs `etcdutl check v2store` of 3.5.32 or later on the member's directory, the running one's too, and
    gives its exit status and all that it said. Requests in the log alone are left behind by `entries` more
    (see push_log); data has to be dealt with by its owner.
    """
    status, said = await look()
    if status and _IN_LOG in said:
        await append_empty_entries(clients, entries, clock=clock)
        ends = clock.now() + SNAPSHOT_S
        while status and clock.now() < ends:
            await clock.sleep(POLL_S)
            status, said = await look()
    if status and "custom" not in said:
        raise EtcdupError(
            "this member's data could not be looked at",
            detail=said.strip(),
            hint="apply again; if it stays so, its data may be damaged: replace the member",
        )
    if status:
        raise EtcdupError(
            "this member cannot go to 3.6 with what it holds",
            detail=said.strip(),
            hint="3.6 reads nothing of etcd's v2 API: what was kept by it has to be moved or removed under 3.5",
        )


async def append_empty_entries(
    clients: Clients, entries: int, *, clock: Clock, timeout_s: float = 300.0
) -> None:
    """So many entries that change nothing, through raft: then every member has made a snapshot of its own and never
    reads what stands in its log before.

    `entries` is the members' snapshot-count and one. 3.4 writes a request of the v2 API into the log for each look
    at its /health, and 3.6 panics where it finds one when it starts.
    """
    client, seen = await _find_newest(clients)
    goal, ends = seen.applied_index + entries, clock.now() + timeout_s
    for done in range(0, entries, _ENTRIES_AT_ONCE):
        if clock.now() >= ends:
            raise EtcdupError(
                f"{done} of {entries} entries were written to the log within {timeout_s:g} s",
                hint="the cluster is slow: `etcdup status` shows it; apply again when it is not",
            )
        # a read that goes through the log, and leaves nothing
        batch = range(min(_ENTRIES_AT_ONCE, entries - done))
        await asyncio.gather(*(client.alarms(timeout_s=CALL_S) for _ in batch))

    async def against(member: EtcdClient) -> str:
        index = (await member.status(timeout_s=CALL_S)).applied_index
        return "" if index >= goal else f"it has applied {index} of {goal}"

    left = max(ends - clock.now(), POLL_S)
    await _wait_until(clients, against, "the members did not follow the log", clock, left)


async def _is_below(client: EtcdClient, version: str, timeout_s: float) -> bool:
    """Whether this is the minor right below the cluster's."""
    try:
        await client.downgrade("validate", version, timeout_s=timeout_s)
    except EtcdRefused as refused:
        if _NOT_BELOW in refused.message:
            return False
        if _IN_PROGRESS not in refused.message:
            raise
    return True


def _can_report_downgrade(seen: MemberSeen) -> bool:
    return seen.version.series >= (3, 6)


async def _find_newest(clients: Clients) -> tuple[EtcdClient, MemberSeen]:
    """The member to tell of a downgrade: 3.5 knows the call, but never answers it."""
    seen = {name: await client.status(timeout_s=CALL_S) for name, client in clients.items()}
    name = max(seen, key=lambda each: (seen[each].version, each))
    return clients[name], seen[name]


async def _read_hashes(clients: Clients) -> dict[str, KvHash]:
    """Every member's hash at the newest revision that all of them have.

    Members that are at one revision are not asked for it by its number: 3.4 refuses that where it was the last one
    to be compacted.
    """
    hashes = await asyncio.gather(*(client.hash_kv(timeout_s=CALL_S) for client in clients.values()))
    revisions = {each.hash_revision for each in hashes}
    if len(revisions) > 1:
        each_at = (client.hash_kv(min(revisions), timeout_s=CALL_S) for client in clients.values())
        hashes = await asyncio.gather(*each_at)
    return dict(zip(clients, hashes, strict=True))


def _who_differs(hashes: Mapping[str, KvHash]) -> str:
    """`m3 holds other data than m1, m2`: the smaller group against the larger. Empty where there is one group."""
    counted = Counter(each.hash for each in hashes.values()).most_common()
    if len(counted) == 1:
        return ""
    largest = counted[0][0]
    odd = sorted(name for name, each in hashes.items() if each.hash != largest)
    rest = sorted(name for name in hashes if name not in odd)
    revision = next(iter(hashes.values())).hash_revision
    return f"{', '.join(odd)} holds other data than {', '.join(rest)} at revision {revision}"


async def _wait_until(
    clients: Clients,
    against: Callable[[EtcdClient], Awaitable[str]],
    failure: str,
    clock: Clock,
    timeout_s: float,
) -> None:
    """Until nothing is said against any member; a member that fails to answer may answer the next time."""
    ends = clock.now() + timeout_s
    while True:
        reasons = await asyncio.gather(*(_check_member(client, against) for client in clients.values()))
        waiting = [f"{name}: {reason}" for name, reason in zip(clients, reasons, strict=True) if reason]
        if not waiting:
            return
        if clock.now() >= ends:
            raise EtcdupError(
                f"{failure} within {timeout_s:g} s",
                detail="\n".join(waiting),
                hint="`etcdup status` shows each member; apply again when all are well",
            )
        await clock.sleep(POLL_S)


async def _check_member(client: EtcdClient, against: Callable[[EtcdClient], Awaitable[str]]) -> str:
    try:
        return await against(client)
    except EtcdRpcError as error:
        return error.message.removeprefix(f"{client.name}: ")
