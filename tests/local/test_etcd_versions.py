"""What real members do when their version changes: core/versions/upgrade_paths.py and ops/versions/versions.py depend
on these facts."""

import asyncio
import contextlib
import re
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.host.settings import settings_of
from etcdup.core.observed.member import MemberSeen
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from etcdup.errors import EtcdupError
from etcdup.ops.polling import WallClock
from etcdup.ops.versions.versions import (
    append_empty_entries,
    cancel_downgrade,
    compare_hashes,
    enable_downgrade,
    ensure_no_v2_data,
    read_cluster_version,
    wait_for_cluster_version,
    wait_for_downgrade_end,
    wait_for_storage_version,
)
from etcdup.remote.etcd.errors import EtcdRefused, EtcdTimeout
from etcdup.remote.etcd.grpc_client import Etcd
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.texts import Texts

pytestmark = pytest.mark.apart

S = 10.0  # more than any call here needs
CLOCK = WallClock()
SNAPSHOT_COUNT = 10_000  # what settings.py sets (rule 78)
CLEAN = (0, "No custom content found in both v2store and WAL records.")
# etcd compares the versions of its members every 4 s. The rest of the time is for a busy machine.
VERSION_RISE_S = 15.0


@contextlib.asynccontextmanager
async def members_of(
    version: str, folder: Path, size: int = 3
) -> AsyncIterator[tuple[EtcdCluster, dict[str, Etcd]]]:
    """Start a cluster with the settings that etcdup writes for this version. Yield it and a client of each member."""
    if reason := why_not(version):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(version), folder, size, our_flags(version)) as cluster:
        async with contextlib.AsyncExitStack() as stack:
            yield (
                cluster,
                {name: await stack.enter_async_context(cluster.client(name)) for name in cluster.members},
            )


def our_flags(version: str) -> list[str]:
    """Return the settings of this version as flags, without those that name the member and its addresses."""
    spec = load(
        f"name: prod\nversion: {version}\nhosts:\n  - {{name: a, address: 10.0.0.1}}\n"
        "etcd: {heartbeat_ms: 50, election_ms: 500}\n"
    )
    host = spec.hosts[0]
    settings = settings_of(spec, host, layout_of(spec, host), "token", peer_common_name=None, trust="")
    groups = dict(settings.groups)
    variables = dict(groups["Timing, size and corruption checks"])
    return [
        f"--{name.removeprefix('ETCD_').lower().replace('_', '-')}={value}"
        for name, value in variables.items()
    ]


def switch_version(cluster: EtcdCluster, name: str, version: str) -> None:
    """Restart the member with another binary and the settings of that version."""
    cluster.members[name].stop()
    cluster.binaries = etcd_binaries(version)
    cluster.extra = tuple(our_flags(version))
    cluster.start(name)


async def roll(cluster: EtcdCluster, clients: dict[str, Etcd], version: str) -> None:
    """Change every member, one after the other. After each change write data, and compare it on all members."""
    for name in cluster.members:
        switch_version(cluster, name, version)
        cluster.wait_healthy()
        await write_keys(clients["m1"], f"{name}-{version}")
        assert await compare_hashes(clients, clock=CLOCK) == ""


async def write_keys(client: Etcd, prefix: str) -> None:
    for number in range(10):
        await client.put(f"{prefix}/{number}".encode(), f"{prefix} {number}".encode(), timeout_s=S)
    await client.delete(f"{prefix}/0".encode(), timeout_s=S)
    await client.compact(await client.revision(timeout_s=S) - 2, timeout_s=S)


async def has_keys(client: Etcd, prefix: str) -> bool:
    found = [await client.get(f"{prefix}/{number}".encode(), timeout_s=S) for number in range(10)]
    return found == [None, *(f"{prefix} {number}".encode() for number in range(1, 10))]


async def read_statuses(clients: dict[str, Etcd]) -> list[MemberSeen]:
    return [await client.status(timeout_s=S) for client in clients.values()]


async def measure_seconds(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def check_v2store(cluster: EtcdCluster, name: str, by: str = "3.5.33") -> tuple[int, str]:
    """Run `etcdutl check v2store` on a running member's data. Return its exit status and output."""
    argv = [str(etcd_binaries(by) / "etcdutl"), "check", "v2store"]
    argv += ["--data-dir", str(cluster.members[name].folder / "data")]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).strip()


@pytest.mark.in_turn(0, 2)
async def test_the_whole_way_up_and_down(tmp_path: Path) -> None:
    """From 3.4.23 to 3.7.1 and back to 3.5.33, with etcdup's settings of each version. No data is lost."""
    prefixes = []
    async with members_of("3.4.23", tmp_path) as (cluster, clients):
        await write_keys(clients["m1"], "before")
        for version in ("3.5.33", "3.6.14", "3.7.1"):
            minor = version.rsplit(".", 1)[0]
            if version == "3.6.14":
                await clear_v2_requests(cluster, clients)
            await roll(cluster, clients, version)
            assert (
                await measure_seconds(wait_for_cluster_version(clients, minor, clock=CLOCK)) < VERSION_RISE_S
            )
            assert (
                await measure_seconds(wait_for_storage_version(clients, minor, clock=CLOCK)) < VERSION_RISE_S
            )
            prefixes += [f"{name}-{version}" for name in cluster.members]
        for version in ("3.6.14", "3.5.33"):
            minor = version.rsplit(".", 1)[0]
            for _ in range(2):
                await enable_downgrade(clients, minor)
            assert (
                await measure_seconds(wait_for_storage_version(clients, minor, clock=CLOCK)) < VERSION_RISE_S
            )
            assert {seen.downgrade_to for seen in await read_statuses(clients)} == {f"{minor}.0"}
            assert {await read_cluster_version(client) for client in clients.values()} == {minor}
            await roll(cluster, clients, version)
        for client in clients.values():
            assert all([await has_keys(client, prefix) for prefix in ("before", *prefixes)])


async def clear_v2_requests(cluster: EtcdCluster, clients: dict[str, Etcd]) -> None:
    """Append entries until no member's log has v2 requests.

    A member of 3.4 writes a v2 request to the log for each request of its /health. 3.6 panics if it reads one.
    After snapshot-count more entries each member has a raft snapshot, and does not read the v2 request again.
    """
    for name in clients:
        assert await check_v2store(cluster, name) == (1, "Error: detected custom v2 content in WAL records")
    before = await clients["m1"].revision(timeout_s=S)
    for name in clients:
        append = partial(append_empty_entries, clients, SNAPSHOT_COUNT + 1, clock=CLOCK)
        await ensure_no_v2_data(partial(check_v2store, cluster, name), append, clock=CLOCK)
        assert await check_v2store(cluster, name) == CLEAN
    assert await clients["m1"].revision(timeout_s=S) == before


@pytest.mark.parametrize(
    ("old", "new", "log_text"),
    one_in_turn(
        ("3.4.23", "3.5.33", "invalid downgrade; server version is lower than determined cluster version"),
        ("3.5.33", "3.6.14", "invalid downgrade; server version is lower than determined cluster version"),
        ("3.6.14", "3.7.1", r"version \"3.7.0\" is not supported"),
    ),
)
async def test_members_can_go_back_until_the_last_one_has_the_new_version(
    old: str, new: str, log_text: str, tmp_path: Path
) -> None:
    """Rule 46: if two of three members run the new minor, both can go back. If all three run it, none can."""
    low, high = old.rsplit(".", 1)[0], new.rsplit(".", 1)[0]
    async with members_of(old, tmp_path) as (cluster, clients):
        for name in ("m1", "m2"):
            switch_version(cluster, name, new)
            cluster.wait_healthy()
        await asyncio.sleep(5)  # longer than the interval in which etcd compares the versions of its members
        assert {await read_cluster_version(client) for client in clients.values()} == {low}
        assert {seen.storage_version for seen in await read_statuses(clients)} <= {"", f"{low}.0"}
        await write_keys(clients["m1"], "mixed")
        await clients["m1"].compact(await clients["m1"].revision(timeout_s=S), timeout_s=S)
        assert await compare_hashes(clients, clock=CLOCK) == ""
        for name in ("m1", "m2"):
            switch_version(cluster, name, old)
            cluster.wait_healthy()
        assert await compare_hashes(clients, clock=CLOCK) == ""
        assert await has_keys(clients["m1"], "mixed")

        for name in cluster.members:
            switch_version(cluster, name, new)
            cluster.wait_healthy()
        await wait_for_cluster_version(clients, high, clock=CLOCK, timeout_s=VERSION_RISE_S)
        switch_version(cluster, "m1", old)
        process = cluster.members["m1"].process
        assert process is not None
        assert process.wait(S) == 1
        assert log_text in cluster.members["m1"].log
        switch_version(cluster, "m1", new)
        cluster.wait_healthy()


async def test_a_half_done_downgrade_is_cancelled(tmp_path: Path) -> None:
    async with members_of("3.6.14", tmp_path) as (cluster, clients):
        await wait_for_storage_version(clients, "3.6", clock=CLOCK)
        await cancel_downgrade(clients)  # no downgrade is enabled
        await enable_downgrade(clients, "3.5")
        with pytest.raises(EtcdRefused, match="cluster has a downgrade job in progress"):
            await clients["m1"].downgrade("enable", "3.5.0", timeout_s=S)
        await wait_for_storage_version(clients, "3.5", clock=CLOCK, timeout_s=VERSION_RISE_S)
        switch_version(cluster, "m1", "3.6.14")  # a restart during the downgrade has no effect
        cluster.wait_healthy()
        switch_version(cluster, "m2", "3.5.33")
        cluster.wait_healthy()
        assert [seen.downgrade_to for seen in await read_statuses(clients)] == ["3.5.0", "", "3.5.0"]
        assert {await read_cluster_version(client) for client in clients.values()} == {"3.5"}
        with pytest.raises(EtcdTimeout):  # 3.5 has the request, but never answers it
            await clients["m2"].downgrade("cancel", "", timeout_s=S)

        await cancel_downgrade(clients)
        await wait_for_downgrade_end(clients, clock=CLOCK)
        switch_version(cluster, "m2", "3.6.14")
        cluster.wait_healthy()
        await wait_for_storage_version(clients, "3.6", clock=CLOCK, timeout_s=VERSION_RISE_S)
        await wait_for_cluster_version(clients, "3.6", clock=CLOCK, timeout_s=VERSION_RISE_S)


async def test_etcd_ends_a_downgrade_by_itself(tmp_path: Path) -> None:
    async with members_of("3.7.1", tmp_path, 1) as (cluster, clients):
        await wait_for_cluster_version(clients, "3.7", clock=CLOCK)
        await enable_downgrade(clients, "3.6")
        await wait_for_storage_version(clients, "3.6", clock=CLOCK, timeout_s=VERSION_RISE_S)
        switch_version(cluster, "m1", "3.6.14")
        cluster.wait_healthy()
        assert await measure_seconds(wait_for_downgrade_end(clients, clock=CLOCK)) < VERSION_RISE_S
        assert {seen.storage_version for seen in await read_statuses(clients)} == {"3.6.0"}


@pytest.mark.in_turn(1, 2)
async def test_a_downgraded_cluster_can_be_upgraded_again(tmp_path: Path) -> None:
    """Through the oldest 3.5 of Debian, without a wait.

    3.6 may then find a downgrade that 3.5 had no time to end, and would keep the storage version 3.5.
    """
    async with members_of("3.6.14", tmp_path) as (cluster, clients):
        await enable_downgrade(clients, "3.5")
        await wait_for_storage_version(clients, "3.5", clock=CLOCK, timeout_s=VERSION_RISE_S)
        for version in ("3.5.16", "3.5.33", "3.6.14"):
            await roll(cluster, clients, version)
        assert {seen.downgrade_to for seen in await read_statuses(clients)} <= {"", "3.5.0"}
        await cancel_downgrade(clients)
        await wait_for_storage_version(clients, "3.6", clock=CLOCK, timeout_s=VERSION_RISE_S)


async def test_v2_data_is_checked_while_a_member_writes(tmp_path: Path) -> None:
    """The check takes no lock and reads only complete records.

    The etcdutl of earlier releases checks less, and that of 3.6 does not have the command.
    """
    async with members_of("3.5.33", tmp_path) as (cluster, clients):
        writing = asyncio.create_task(write_forever(clients["m1"]))
        found = {await check_v2store(cluster, f"m{number % 3 + 1}") for number in range(15)}
        writing.cancel()
        assert found == {CLEAN}
        assert await check_v2store(cluster, "m1", by="3.5.30") == (0, "No custom content found in v2store.")
        status, output = await check_v2store(cluster, "m1", by="3.6.14")
        assert status == 1
        assert 'unknown command "check"' in output


async def write_forever(client: Etcd) -> None:
    while True:
        await client.put(b"large", bytes(100_000), timeout_s=S)


@pytest.mark.parametrize("written", [False, True])
async def test_3_5_removes_members_if_nothing_was_written_after_they_were_added(
    written: bool, tmp_path: Path
) -> None:
    """3.5.26 and later remove members if 3.4 stored nothing after they were added, and 3.6 then rejects these members.

    A write through the cluster before, such as the health proof, prevents this.
    """
    async with members_of("3.4.23", tmp_path) as (cluster, clients):
        if written:
            await clients["m1"].prove(b"proof", b"written", timeout_s=S)
            await compare_hashes(clients, clock=CLOCK)
        switch_version(cluster, "m2", "3.5.33")
        cluster.wait_healthy()
        assert ("Removing zombie member from v3store" in cluster.members["m2"].log) != written


async def test_a_member_with_other_data_is_found(texts: Texts, tmp_path: Path) -> None:
    """Three clusters of one member, as three members of one cluster of which one has other data."""
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name, value in (("a", b"1"), ("b", b"2"), ("c", b"1")):
            (tmp_path / name).mkdir()
            _, only = await stack.enter_async_context(members_of("3.6.14", tmp_path / name, 1))
            clients[name] = only["m1"]
            await clients[name].put(b"k", value, timeout_s=S)
        assert await compare_hashes(clients, clock=CLOCK) == "b has other data than a, c at revision 2"
        alike = {name: clients[name] for name in ("a", "c")}
        assert await compare_hashes(alike, clock=CLOCK) == ""
        for client in alike.values():
            await client.put(b"k", b"3", timeout_s=S)
        await clients["c"].compact(2, timeout_s=S)
        with pytest.raises(EtcdupError) as caught:
            await compare_hashes(alike, clock=CLOCK, timeout_s=1)
        texts(caught.value)


async def test_each_wait_has_a_timeout(texts: Texts, tmp_path: Path) -> None:
    async with members_of("3.6.14", tmp_path, 1) as (cluster, clients):
        with pytest.raises(EtcdupError) as caught:
            await wait_for_cluster_version(clients, "3.7", clock=CLOCK, timeout_s=0.5)
        texts(caught.value)
        with pytest.raises(EtcdupError) as caught:
            await wait_for_storage_version(clients, "3.4", clock=CLOCK, timeout_s=0.5)
        texts(caught.value)
        for status, output in (
            (1, "Error: detected custom content in v2store"),
            (1, "Error: crc mismatch"),
            (127, "setpriv: failed to execute /opt/etcd/3.5.33/etcdutl"),
        ):
            with pytest.raises(EtcdupError) as caught:
                await ensure_no_v2_data(
                    partial(return_answer, status, output),
                    partial(append_empty_entries, clients, 1, clock=CLOCK),
                    clock=CLOCK,
                )
            texts(caught.value)
        with pytest.raises(EtcdupError) as caught:
            await append_empty_entries(clients, 100_000, clock=CLOCK, timeout_s=0.1)
        texts(re.sub(r"\d+ of", "N of", caught.value.message))
        cluster.members["m1"].stop()
        with pytest.raises(EtcdupError) as caught:
            await wait_for_downgrade_end(clients, clock=CLOCK, timeout_s=0)
        texts([caught.value.message, caught.value.detail])


async def return_answer(status: int, output: str) -> tuple[int, str]:
    return status, output
