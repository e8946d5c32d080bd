"""Members that send plain http to each other change to https, one after the other, by a second port.

docs/guides/adopt.md has this procedure. Each step stops at most one member, and the others are a quorum.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from etcdup.remote.etcd.errors import EtcdRpcError
from tests.local.conftest import VERSIONS
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import etcd_binaries, why_not
from tests.support.etcd_cluster import PEER_PORT, EtcdCluster, Member
from tests.support.etcd_wait import retry_while_refused
from tests.support.loopback_networks import own_network

TLS_PORT = 2382
# A leader that transfers its leadership drops proposals (rule 39). A new peer URL resets a connection of raft, and a
# message on it can be lost. Each change fails a write of each writer at most.
MAY_FAIL = ("raft proposal dropped", "request timed out")
CHANGES = 12
S = 10.0


class PlainPeers(EtcdCluster):
    """Members with http between them. A member in `listens` has a peer certificate, and listens on these URLs."""

    def __init__(self, binaries: Path, folder: Path, network: int) -> None:
        self.listens: dict[str, tuple[str, ...]] = {}
        super().__init__(binaries, folder, network, 3)

    def _flags(self, member: Member, initial: Mapping[str, str] | None) -> list[str]:
        flags = [
            flag.replace("https:", "http:") if _names_peers(flag) else flag
            for flag in super()._flags(member, initial)
        ]
        if urls := self.listens.get(member.name):
            return [*flags, f"--listen-peer-urls={','.join(urls)}"]
        return [flag for flag in flags if not flag.startswith("--peer-")]


def _names_peers(flag: str) -> bool:
    return flag.startswith(("--listen-peer-urls", "--initial-advertise-peer-urls", "--initial-cluster="))


@dataclass
class Writers:
    """What the writers of all members have observed."""

    acknowledged: list[bytes] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: set[str] = field(default_factory=set)


@asynccontextmanager
async def writers_on(cluster: EtcdCluster) -> AsyncIterator[Writers]:
    """Run a writer on each member. A failure is noted if its member was not stopped at that time."""
    seen = Writers()

    async def write(name: str) -> None:
        async with cluster.client(name) as client:
            for number in count():
                key = f"written/{name}/{number}".encode()
                try:
                    await client.put(key, b"x", timeout_s=S)
                    seen.acknowledged.append(key)
                except EtcdRpcError as error:
                    if name not in seen.stopped:
                        seen.failed.append(str(error))
                await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(write(name)) for name in cluster.members]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def restart(cluster: PlainPeers, seen: Writers, name: str, *urls: str) -> None:
    """Restart a member with these peer URLs, after its leadership is transferred."""
    async with cluster.client(name) as client:
        status = await client.status(timeout_s=S)
        if status.leader_id == status.member_id:
            others = [
                each.member_id
                for each in await client.members(timeout_s=S)
                if each.member_id != status.member_id
            ]
            await client.move_leader(others[0], timeout_s=S)
    cluster.listens[name] = urls
    seen.stopped.add(name)
    await asyncio.to_thread(cluster.members[name].stop)
    cluster.start(name)
    await asyncio.to_thread(cluster.wait_healthy)
    await asyncio.sleep(1)  # the writer's connection may wait one backoff
    seen.stopped.discard(name)


async def set_peer_urls(cluster: PlainPeers, *ports: tuple[str, int]) -> None:
    """Set the URLs of each member in the member list, one after the other. No member restarts."""
    async with cluster.client("m1") as client:
        for name, member in cluster.members.items():
            ident = next(each.member_id for each in await client.members(timeout_s=S) if each.name == name)
            urls = [f"{scheme}://{member.address}:{port}" for scheme, port in ports]
            update = partial(client.update_peer_urls, ident, urls, timeout_s=S)
            await retry_while_refused(update, while_told="unhealthy")
            await asyncio.sleep(1)
            await asyncio.to_thread(cluster.wait_healthy)


@pytest.mark.parametrize("version", one_in_turn(*VERSIONS))
async def test_plain_peers_change_to_https_without_an_outage(version: str, tmp_path: Path) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    with own_network() as network:
        cluster = PlainPeers(etcd_binaries(version), tmp_path, network)
        try:
            cluster.start()
            cluster.wait_healthy()
            async with writers_on(cluster) as seen:
                for name, member in cluster.members.items():
                    both = (f"http://{member.address}:{PEER_PORT}", f"https://{member.address}:{TLS_PORT}")
                    await restart(cluster, seen, name, *both)
                await set_peer_urls(cluster, ("http", PEER_PORT), ("https", TLS_PORT))
                await set_peer_urls(cluster, ("https", TLS_PORT))
                for name, member in cluster.members.items():
                    await restart(cluster, seen, name, f"https://{member.address}:{TLS_PORT}")
            print(f"{version}: {len(seen.acknowledged)} writes acknowledged, failed: {seen.failed}")
            assert [each for each in seen.failed if not any(text in each for text in MAY_FAIL)] == []
            assert len(seen.failed) <= CHANGES * len(cluster.members)
            async with cluster.client("m3") as client:
                for key in seen.acknowledged:
                    assert await client.get(key, timeout_s=S), key
        finally:
            cluster.stop()
