"""Wait for what the members agree on when their version changes, and enable or cancel a downgrade.

A minor is a text such as `3.6`, as in the steps. tests/local/test_etcd_versions.py tests the behaviour of real
members. Each wait below ends within 4 s there.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.errors import EtcdupError
from etcdup.ops.polling import POLL_S, Clock, wait_until
from etcdup.ops.world.hashes import read_hashes_in_turn
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdRefused, EtcdRpcError

Clients = Mapping[str, EtcdClient]

CALL_S = 10.0
# A comparison of hashes reads the whole keyspace, and etcdutl reads the whole log.
INTERVAL_S = 0.2
# A member writes its raft snapshot in the background, soon after the entry that made it due.
SNAPSHOT_S = 20.0
# Members differ only if they differ in this many comparisons: a member may be in the middle of a compaction.
_DIFFERENCES = 3
# The number of parallel requests that append empty entries. More are not faster on loopback.
_ENTRIES_AT_ONCE = 64
# The output of etcdutl if the write-ahead log has v2 requests, and the data has none.
_IN_LOG = "detected custom v2 content in WAL records"
_NOT_BELOW = "invalid downgrade target version"
_IN_PROGRESS = "downgrade job in progress"
# The default of --snapshot-count in etcd 3.5 (rule 78). Later versions have a smaller one.
SNAPSHOT_COUNT = 100_000
# A larger count, or none, is not believed: a host may report any text.
_COUNT = re.compile(r"[1-9]\d{0,5}", re.ASCII)


async def read_cluster_version(client: EtcdClient, *, timeout_s: float = CALL_S) -> str:
    """Return the cluster version, such as `3.5`: the lowest minor of all members.

    It rises a few seconds after the last member has left that minor. etcd's API does not return it. But a request to
    validate a downgrade succeeds only for the minor directly below it. 3.4 does not have that request, and a member of
    3.4 runs only in a cluster of version 3.4.
    """
    own = (await client.status(timeout_s=timeout_s)).version
    if own.series <= (3, 4):
        return "3.4"
    for minor in (own.minor, own.minor - 1, own.minor):  # it may rise between two requests
        if await _is_below(client, f"{own.major}.{minor - 1}.0", timeout_s):
            return f"{own.major}.{minor}"
    raise EtcdupError(
        f"{client.name} does not report the cluster version", hint="run `etcdup status` to see each member"
    )


async def wait_for_cluster_version(
    clients: Clients, minor: str, *, clock: Clock, timeout_s: float = 60.0
) -> None:
    """Wait until every member reports this minor as the cluster version."""

    async def check(client: EtcdClient) -> str:
        found = await read_cluster_version(client)
        return "" if found == minor else f"it reports cluster version {found}"

    await _wait_for_members(clients, check, f"the cluster version did not become {minor}", clock, timeout_s)


async def wait_for_storage_version(
    clients: Clients, minor: str, *, clock: Clock, timeout_s: float = 60.0
) -> None:
    """Wait until the storage version of every member is this minor. No older binary may open newer data (rule 49).

    Members before 3.6 do not report it, and have only one storage version.
    """

    async def check(client: EtcdClient) -> str:
        seen = await client.status(timeout_s=CALL_S)
        if not _can_report_downgrade(seen) or seen.storage_version.startswith(f"{minor}."):
            return ""
        return f"its storage version is {seen.storage_version or 'not set yet'}"

    await _wait_for_members(clients, check, f"the storage version did not become {minor}", clock, timeout_s)


async def wait_for_downgrade_end(clients: Clients, *, clock: Clock, timeout_s: float = 60.0) -> None:
    """Wait until no member reports a downgrade. etcd ends it by itself after all members run the target version."""

    async def check(client: EtcdClient) -> str:
        seen = await client.status(timeout_s=CALL_S)
        return f"its downgrade to {seen.downgrade_to} is still enabled" if seen.downgrade_to else ""

    await _wait_for_members(clients, check, "etcd did not end the downgrade", clock, timeout_s)


async def enable_downgrade(clients: Clients, minor: str) -> None:
    """Enable the downgrade to this minor (rule 47). Do nothing if it is enabled already.

    etcd allows one downgrade at a time, so that an earlier one that has not ended is cancelled first.
    """
    client, seen = await _find_newest(clients)
    if seen.downgrade_to.startswith(f"{minor}."):
        return
    await cancel_downgrade(clients)
    await client.downgrade("enable", f"{minor}.0", timeout_s=CALL_S)


async def cancel_downgrade(clients: Clients) -> None:
    """Cancel the downgrade, if one is enabled. The cluster keeps its version, or its members are upgraded again."""
    client, seen = await _find_newest(clients)
    if seen.downgrade_to:
        await client.downgrade("cancel", "", timeout_s=CALL_S)


async def compare_hashes(clients: Clients, *, clock: Clock, timeout_s: float = 30.0) -> str:
    """Return which members have other data than the rest at the same revision, or an empty text (rules 80-82).

    The comparison is repeated while members have different compact revisions, since their hashes then differ.
    """
    differences, difference, why = 0, "", ""

    async def is_compared() -> bool:
        nonlocal differences, difference, why
        try:
            hashes = await _read_hashes(clients)
        except EtcdRpcError as error:
            why = error.message
            return False
        if len({each.compact_revision for each in hashes.values()}) > 1:
            why = "the members have different compact revisions"
            return False
        why = difference = _difference_between(hashes)
        differences += bool(difference)
        return not difference or differences == _DIFFERENCES

    if await wait_until(clock, is_compared, timeout_s, INTERVAL_S):
        return difference
    raise EtcdupError(
        f"the members' data could not be compared within {timeout_s:g} s: {why}",
        hint="run `etcdup apply` again, which resumes",
    )


# The exit status of a shell, env, timeout and setpriv for a program that is missing or not executable (POSIX, 2.8.2).
_CANNOT_RUN = (126, 127)


async def ensure_no_v2_data(
    run_check: Callable[[], Awaitable[tuple[int, str]]],
    append_entries: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
) -> None:
    """Return after a member's data and log contain nothing that 3.6 does not read (rule 44). Raises EtcdupError.

    `run_check` runs `etcdutl check v2store` of 3.5.32 or later on the member's data directory, and returns its exit
    status and output. The member may run meanwhile. If only the log has v2 requests, `append_entries` makes the member
    leave them behind (see append_empty_entries). etcdup does not change v2 data.
    """
    status, output = await run_check()
    if status in _CANNOT_RUN:
        raise EtcdupError(
            "etcdutl of the version that runs cannot be started on this host",
            detail=output.strip(),
            hint="copy etcdutl of this version to the path above, with owner root and mode 0755. Then run the same "
            "command again",
        )

    async def is_clean() -> bool:
        nonlocal status, output
        status, output = await run_check()
        return status == 0

    if status and _IN_LOG in output:
        await append_entries()
        await wait_until(clock, is_clean, SNAPSHOT_S, INTERVAL_S)
    if status and "custom" not in output:
        raise EtcdupError(
            "`etcdutl check v2store` cannot read this member's data",
            detail=output.strip(),
            hint="run `etcdup apply` again. If the error is the same, the data may be damaged: set `version` back, "
            "then run `etcdup member replace NAME` for this member",
        )
    if status:
        raise EtcdupError(
            "this member has v2 data, and cannot be upgraded to 3.6",
            detail=output.strip(),
            hint="etcd 3.6 does not have the v2 API: move or delete the v2 data while etcd 3.5 runs",
        )


def entries_for_snapshot(observed: Observed) -> int:
    """Return how many entries make every member write a raft snapshot: the largest snapshot-count plus one."""
    counts = [seen.unit.environment.get("ETCD_SNAPSHOT_COUNT", "") for seen in observed.reachable().values()]
    known = [int(count) if _COUNT.fullmatch(count) else SNAPSHOT_COUNT for count in counts]
    return max(known, default=SNAPSHOT_COUNT) + 1


async def append_empty_entries(
    clients: Clients, entries: int, *, clock: Clock, timeout_s: float = 300.0
) -> None:
    """Append this number of entries without effect to the raft log.

    Every member then writes a raft snapshot, and never reads the earlier part of its log again. `entries` is the
    members' snapshot-count plus one. etcd 3.4 writes a v2 request to the log for each request of its /health. etcd
    3.6 panics if it finds one when it starts.
    """
    client, seen = await _find_newest(clients)
    goal, ends = seen.applied_index + entries, clock.now() + timeout_s
    for done in range(0, entries, _ENTRIES_AT_ONCE):
        if clock.now() >= ends:
            raise EtcdupError(
                f"only {done} of {entries} entries were written to the log within {timeout_s:g} s",
                hint="the cluster is slow: run `etcdup status`, and run `etcdup apply` again when it is faster",
            )
        # A request for the alarms goes through the log and changes nothing.
        batch = range(min(_ENTRIES_AT_ONCE, entries - done))
        await asyncio.gather(*(client.alarms(timeout_s=CALL_S) for _ in batch))

    async def check(member: EtcdClient) -> str:
        index = (await member.status(timeout_s=CALL_S)).applied_index
        return "" if index >= goal else f"it has applied {index} of {goal} entries"

    left = max(ends - clock.now(), POLL_S)
    await _wait_for_members(clients, check, "the members did not apply the new entries", clock, left)


async def _is_below(client: EtcdClient, version: str, timeout_s: float) -> bool:
    """Return whether this is the minor directly below the cluster version."""
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
    """Return the member for downgrade requests: the newest one, because 3.5 never answers them."""
    seen = {name: await client.status(timeout_s=CALL_S) for name, client in clients.items()}
    name = max(seen, key=lambda each: (seen[each].version, each))
    return clients[name], seen[name]


async def _read_hashes(clients: Clients) -> dict[str, KvHash]:
    """Return every member's hash at the newest revision that all members have. Raises the error of a member."""
    hashes: dict[str, KvHash] = {}
    for name, found in (await read_hashes_in_turn(clients)).items():
        if not isinstance(found, KvHash):
            raise found
        hashes[name] = found
    return hashes


def _difference_between(hashes: Mapping[str, KvHash]) -> str:
    """Return `m3 has other data than m1, m2 at revision 7`, the smaller group first. Empty if all are equal."""
    counted = Counter(each.hash for each in hashes.values()).most_common()
    if len(counted) == 1:
        return ""
    largest = counted[0][0]
    odd = sorted(name for name, each in hashes.items() if each.hash != largest)
    rest = sorted(name for name in hashes if name not in odd)
    revision = next(iter(hashes.values())).hash_revision
    return f"{', '.join(odd)} has other data than {', '.join(rest)} at revision {revision}"


async def _wait_for_members(
    clients: Clients,
    check: Callable[[EtcdClient], Awaitable[str]],
    failure: str,
    clock: Clock,
    timeout_s: float,
) -> None:
    """Wait until `check` returns no reason for any member. A member without an answer is checked again."""
    waiting: list[str] = []

    async def is_done() -> bool:
        reasons = await asyncio.gather(*(_check_member(client, check) for client in clients.values()))
        waiting[:] = [f"{name}: {reason}" for name, reason in zip(clients, reasons, strict=True) if reason]
        return not waiting

    if not await wait_until(clock, is_done, timeout_s, INTERVAL_S):
        raise EtcdupError(
            f"{failure} within {timeout_s:g} s",
            detail="\n".join(waiting),
            hint="run `etcdup status` to see each member; run `etcdup apply` again when all members are healthy",
        )


async def _check_member(client: EtcdClient, check: Callable[[EtcdClient], Awaitable[str]]) -> str:
    try:
        return await check(client)
    except EtcdRpcError as error:
        return error.message.removeprefix(f"{client.name}: ")
