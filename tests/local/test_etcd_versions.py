"""What real members do when versions change: the facts that core/versions/upgrade_paths.py
and ops/versions/versions.py are built on."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from pathlib import Path

import pytest

from etcdup.core.host.settings import settings_of
from etcdup.core.observed.model import MemberSeen
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.load import load
from etcdup.errors import EtcdupError
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
from etcdup.ops.world.open import WallClock
from etcdup.remote.etcd.errors import EtcdRefused, EtcdTimeout
from etcdup.remote.etcd.grpc_client import Etcd
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

pytestmark = pytest.mark.apart

S = 10.0  # more than any call here needs
CLOCK = WallClock()
SNAPSHOT_COUNT = 10_000  # what settings.py sets (rule 78)
CLEAN = (0, "No custom content found in both v2store and WAL records.")
# etcd looks at its members' versions every 4 s; the rest is for a busy machine.
VERSION_RISE_S = 15.0


@contextlib.asynccontextmanager
async def members_of(
    version: str, folder: Path, size: int = 3
) -> AsyncIterator[tuple[EtcdCluster, dict[str, Etcd]]]:
    """A cluster with the settings that etcdup writes for this version, and a client of each member."""
    if reason := why_not(version):
        pytest.skip(reason)
    with etcd_cluster(etcd_binaries(version), folder, size, our_flags(version)) as cluster:
        async with contextlib.AsyncExitStack() as stack:
            yield (
                cluster,
                {name: await stack.enter_async_context(cluster.client(name)) for name in cluster.members},
            )


def our_flags(version: str) -> list[str]:
    """settings.py's variables of this version as flags, without those that say who and where the member is."""
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
    """The member's data under another binary, with the settings of that version."""
    cluster.members[name].stop()
    cluster.binaries = etcd_binaries(version)
    cluster.extra = tuple(our_flags(version))
    cluster.start(name)


async def roll(cluster: EtcdCluster, clients: dict[str, Etcd], version: str) -> None:
    """Every member, one after the other; data is written, and compared on all members, after each."""
    for name in cluster.members:
        switch_version(cluster, name, version)
        cluster.wait_healthy()
        await write_marked(clients["m1"], f"{name}-{version}")
        assert await compare_hashes(clients, clock=CLOCK) == ""


async def write_marked(client: Etcd, mark: str) -> None:
    for number in range(10):
        await client.put(f"{mark}/{number}".encode(), f"{mark} {number}".encode(), timeout_s=S)
    await client.delete(f"{mark}/0".encode(), timeout_s=S)
    await client.compact(await client.revision(timeout_s=S) - 2, timeout_s=S)


async def has_marked(client: Etcd, mark: str) -> bool:
    found = [await client.get(f"{mark}/{number}".encode(), timeout_s=S) for number in range(10)]
    return found == [None, *(f"{mark} {number}".encode() for number in range(1, 10))]


async def read_statuses(clients: dict[str, Etcd]) -> list[MemberSeen]:
    return [await client.status(timeout_s=S) for client in clients.values()]


async def measure_seconds(work: Awaitable[None]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def check_v2store(cluster: EtcdCluster, name: str, by: str = "3.5.33") -> tuple[int, str]:
    """etcdutl's look at a running member's data: its exit status, and what it says."""
    argv = [str(etcd_binaries(by) / "etcdutl"), "check", "v2store"]
    argv += ["--data-dir", str(cluster.members[name].folder / "data")]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=60)
    return done.returncode, (done.stdout + done.stderr).strip()


async def test_the_whole_way_up_and_down(tmp_path: Path) -> None:
    """3.4.23 to 3.7.1 and back to 3.5.33, with our settings of each; nothing is lost on the way."""
    marks = []
    async with members_of("3.4.23", tmp_path) as (cluster, clients):
        await write_marked(clients["m1"], "before")
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
            marks += [f"{name}-{version}" for name in cluster.members]
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
            assert all([await has_marked(client, mark) for mark in ("before", *marks)])


async def clear_v2_requests(cluster: EtcdCluster, clients: dict[str, Etcd]) -> None:
    """Each look at a 3.4 member's /health stands in the log as a v2 request, at which 3.6 panics: a snapshot-count of
    entries later it is behind each member's raft snapshot, and never read again."""
    for name in clients:
        assert await check_v2store(cluster, name) == (1, "Error: detected custom v2 content in WAL records")
    before = await clients["m1"].revision(timeout_s=S)
    for name in clients:
        await ensure_no_v2_data(
            partial(check_v2store, cluster, name), clients, SNAPSHOT_COUNT + 1, clock=CLOCK
        )
        assert await check_v2store(cluster, name) == CLEAN
    assert await clients["m1"].revision(timeout_s=S) == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3.4.23", "3.5.33", "invalid downgrade; server version is lower than determined cluster version"),
        ("3.5.33", "3.6.14", "invalid downgrade; server version is lower than determined cluster version"),
        ("3.6.14", "3.7.1", r"version \"3.7.0\" is not supported"),
    ],
)
async def test_back_is_free_until_the_last_member_is_new(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    """Rule 46: with two of three on the new minor, and seconds to notice it, both can go back; with three, none."""
    low, high = old.rsplit(".", 1)[0], new.rsplit(".", 1)[0]
    async with members_of(old, tmp_path) as (cluster, clients):
        for name in ("m1", "m2"):
            switch_version(cluster, name, new)
            cluster.wait_healthy()
        await asyncio.sleep(5)  # longer than etcd takes between two looks at its members' versions
        assert {await read_cluster_version(client) for client in clients.values()} == {low}
        assert {seen.storage_version for seen in await read_statuses(clients)} <= {"", f"{low}.0"}
        await write_marked(clients["m1"], "mixed")
        await clients["m1"].compact(await clients["m1"].revision(timeout_s=S), timeout_s=S)
        assert await compare_hashes(clients, clock=CLOCK) == ""
        for name in ("m1", "m2"):
            switch_version(cluster, name, old)
            cluster.wait_healthy()
        assert await compare_hashes(clients, clock=CLOCK) == ""
        assert await has_marked(clients["m1"], "mixed")

        for name in cluster.members:
            switch_version(cluster, name, new)
            cluster.wait_healthy()
        await wait_for_cluster_version(clients, high, clock=CLOCK, timeout_s=VERSION_RISE_S)
        switch_version(cluster, "m1", old)
        process = cluster.members["m1"].process
        assert process is not None
        assert process.wait(S) == 1
        assert words in cluster.members["m1"].log
        switch_version(cluster, "m1", new)
        cluster.wait_healthy()


async def test_a_downgrade_is_left_half_done_and_taken_back(tmp_path: Path) -> None:
    async with members_of("3.6.14", tmp_path) as (cluster, clients):
        await wait_for_storage_version(clients, "3.6", clock=CLOCK)
        await cancel_downgrade(clients)  # there is none
        await enable_downgrade(clients, "3.5")
        with pytest.raises(EtcdRefused, match="cluster has a downgrade job in progress"):
            await clients["m1"].downgrade("enable", "3.5.0", timeout_s=S)
        await wait_for_storage_version(clients, "3.5", clock=CLOCK, timeout_s=VERSION_RISE_S)
        switch_version(cluster, "m1", "3.6.14")  # a restart in the middle of it is no harm
        cluster.wait_healthy()
        switch_version(cluster, "m2", "3.5.33")
        cluster.wait_healthy()
        assert [seen.downgrade_to for seen in await read_statuses(clients)] == ["3.5.0", "", "3.5.0"]
        assert {await read_cluster_version(client) for client in clients.values()} == {"3.5"}
        with pytest.raises(EtcdTimeout):  # 3.5 knows the call, but never answers it
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


async def test_a_downgraded_cluster_can_be_upgraded_again(tmp_path: Path) -> None:
    """By way of Debian's oldest 3.5, and at once: 3.6 may then find the downgrade that 3.5 had no time to end, and
    would keep the data of 3.5 for ever."""
    async with members_of("3.6.14", tmp_path) as (cluster, clients):
        await enable_downgrade(clients, "3.5")
        await wait_for_storage_version(clients, "3.5", clock=CLOCK, timeout_s=VERSION_RISE_S)
        for version in ("3.5.16", "3.5.33", "3.6.14"):
            await roll(cluster, clients, version)
        assert {seen.downgrade_to for seen in await read_statuses(clients)} <= {"", "3.5.0"}
        await cancel_downgrade(clients)
        await wait_for_storage_version(clients, "3.6", clock=CLOCK, timeout_s=VERSION_RISE_S)


async def test_v2_data_is_looked_for_beside_a_member_that_writes(tmp_path: Path) -> None:
    """It takes no lock and reads whole records only; other releases' etcdutl look at less, or know it no more."""
    async with members_of("3.5.33", tmp_path) as (cluster, clients):
        writing = asyncio.create_task(write_forever(clients["m1"]))
        found = {await check_v2store(cluster, f"m{number % 3 + 1}") for number in range(15)}
        writing.cancel()
        assert found == {CLEAN}
        assert await check_v2store(cluster, "m1", by="3.5.30") == (0, "No custom content found in v2store.")
        status, said = await check_v2store(cluster, "m1", by="3.6.14")
        assert status == 1
        assert 'unknown command "check"' in said


async def write_forever(client: Etcd) -> None:
    while True:
        await client.put(b"large", bytes(100_000), timeout_s=S)


@pytest.mark.parametrize("written", [False, True])
async def test_3_5_forgets_members_that_nothing_was_written_after(written: bool, tmp_path: Path) -> None:
    """3.5.26 and later take members for removed ones where 3.4 stored nothing since they were added, and 3.6 then
    believes it and shuts them out. A write through the cluster before, like our proof of health, keeps them."""
    async with members_of("3.4.23", tmp_path) as (cluster, clients):
        if written:
            await clients["m1"].prove(b"proof", b"written", timeout_s=S)
            await compare_hashes(clients, clock=CLOCK)
        switch_version(cluster, "m2", "3.5.33")
        cluster.wait_healthy()
        assert ("Removing zombie member from v3store" in cluster.members["m2"].log) != written


async def test_members_with_other_data_are_found_out(tmp_path: Path) -> None:
    """Three clusters of one, as three members of which one went astray."""
    async with contextlib.AsyncExitStack() as stack:
        clients = {}
        for name, value in (("a", b"1"), ("b", b"2"), ("c", b"1")):
            (tmp_path / name).mkdir()
            _, only = await stack.enter_async_context(members_of("3.6.14", tmp_path / name, 1))
            clients[name] = only["m1"]
            await clients[name].put(b"k", value, timeout_s=S)
        assert await compare_hashes(clients, clock=CLOCK) == "b holds other data than a, c at revision 2"
        alike = {name: clients[name] for name in ("a", "c")}
        assert await compare_hashes(alike, clock=CLOCK) == ""
        for client in alike.values():
            await client.put(b"k", b"3", timeout_s=S)
        await clients["c"].compact(2, timeout_s=S)
        with pytest.raises(EtcdupError, match=r"within 1 s: the members are at different compactions"):
            await compare_hashes(alike, clock=CLOCK, timeout_s=1)


async def test_what_does_not_come_is_not_waited_for_forever(tmp_path: Path) -> None:
    async with members_of("3.6.14", tmp_path, 1) as (cluster, clients):
        with pytest.raises(EtcdupError, match=r"did not become one of 3\.7 within 0\.5 s") as caught:
            await wait_for_cluster_version(clients, "3.7", clock=CLOCK, timeout_s=0.5)
        assert caught.value.detail == "m1: the cluster's version is 3.6 to it"
        with pytest.raises(EtcdupError, match=r"did not take the form of 3\.4 within 0\.5 s"):
            await wait_for_storage_version(clients, "3.4", clock=CLOCK, timeout_s=0.5)
        for said, why in (
            ("Error: detected custom content in v2store", r"cannot go to 3\.6"),
            ("Error: crc mismatch", "could not be looked at"),
        ):
            with pytest.raises(EtcdupError, match=why) as caught:
                await ensure_no_v2_data(partial(fixed_answer, 1, said), clients, 1, clock=CLOCK)
            assert caught.value.detail == said
        with pytest.raises(EtcdupError, match=r"entries were written to the log within 0\.1 s"):
            await append_empty_entries(clients, 100_000, clock=CLOCK, timeout_s=0.1)
        cluster.members["m1"].stop()
        with pytest.raises(EtcdupError, match="within 0 s") as caught:
            await wait_for_downgrade_end(clients, clock=CLOCK, timeout_s=0)
        assert "no program listens on the client port" in caught.value.detail


async def fixed_answer(status: int, said: str) -> tuple[int, str]:
    return status, said
