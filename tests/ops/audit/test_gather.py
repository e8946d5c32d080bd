"""The evidence that `check` reads from members: hashes at one revision, and metrics from either port."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.audit.findings import LeaderChanges, MemberHash
from etcdup.core.certs.exports import ClientFiles
from etcdup.ops.audit.gather import read_hashes
from etcdup.ops.audit.metrics import read_leader_changes
from etcdup.ops.world.hashes import read_hashes_in_turn
from etcdup.ops.world.observe import observe
from etcdup.ops.world.world import World
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.remote.etcd.errors import EtcdTimeout
from etcdup.remote.local import LocalHost
from etcdup.testing.etcd_client import FakeEtcd
from tests.core.audit.test_audit import METRICS
from tests.support.etcd_certs import Authority
from tests.support.fake_world import bring_up, machines_for, spec_of, world_of
from tests.support.texts import Texts

SPEC = spec_of()
BEGAN = 1.76406e9


class CompactingEtcd(FakeEtcd):
    """A member that a compaction reaches after `reads_before` reads. With None it never answers in time.

    `reads` has the members in the order of the reads, and None while a read is in progress.
    """

    reads_before: int | None = 0
    reads: list[str | None]

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        assert self.reads[-1:] != [None], "two members compute a hash at the same time"
        self.reads.append(None)
        await asyncio.sleep(0)
        self.reads[-1] = self.name
        if self.reads_before is None:
            raise EtcdTimeout(self.name, "no answer within 10 s")
        self.reads_before -= 1
        return KvHash(7, 10 if self.reads_before >= 0 else 12, revision or 20)


async def gather_hashes(
    folder: Path, reads: list[str | None] | None = None, **reads_before: int | None
) -> tuple[MemberHash, ...]:
    network = machines_for(SPEC)
    await bring_up(SPEC, network, folder)
    world = world_of(SPEC, network, folder)
    members = {name: CompactingEtcd(network.machines[name]) for name in network.machines}
    for member in members.values():
        member.reads = reads if reads is not None else []
    for name, count in reads_before.items():
        members[name].reads_before = count
    return await read_hashes(with_members(world, members), await observe(world))


def with_members(world: World, members: dict[str, CompactingEtcd]) -> World:
    async def etcd(name: str) -> EtcdClient:
        return members[name]

    return replace(world, etcd=etcd)


async def test_one_member_after_the_other_computes_one_hash_and_the_leader_is_last(tmp_path: Path) -> None:
    """infra1 is the leader. A member applies nothing while it computes a hash."""
    reads: list[str | None] = []
    hashes = await gather_hashes(tmp_path, reads)
    assert reads == ["infra2", "infra3", "infra1"]
    assert [each.member for each in hashes] == ["infra1", "infra2", "infra3"]


async def test_hashes_are_read_again_after_a_compaction(tmp_path: Path) -> None:
    assert {each.compacted for each in await gather_hashes(tmp_path, infra3=1)} == {12}


class QuietEtcd(FakeEtcd):
    """A member of a quiet cluster. The last compaction was at its newest revision, 20.

    `stores`: it has not restarted since. Then it stored the hash, with the compaction before that one.
    """

    stores: bool = False
    is_slow: bool = False

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        if self.stores and revision:
            return KvHash(5, 10, 20)
        if self.is_slow:
            raise EtcdTimeout(self.name, "no answer within 10 s")
        return KvHash(7, 20, 20)


async def test_hashes_of_a_quiet_cluster_are_comparable_after_a_restart(tmp_path: Path) -> None:
    network = machines_for(SPEC)
    await bring_up(SPEC, network, tmp_path)
    members = {name: QuietEtcd(network.machines[name]) for name in network.machines}
    members["infra2"].stores = True
    assert set((await read_hashes_in_turn(members)).values()) == {KvHash(7, 20, 20)}


async def test_after_a_stored_hash_that_is_not_computed_in_time_no_other_one_is_requested(
    tmp_path: Path,
) -> None:
    """infra1 is the leader, so infra2 is the first of the members that stored their hashes."""
    network = machines_for(SPEC)
    await bring_up(SPEC, network, tmp_path)
    members = {name: QuietEtcd(network.machines[name]) for name in network.machines}
    for name in ("infra1", "infra2"):
        members[name].stores = members[name].is_slow = True
    found = await read_hashes_in_turn(members)
    assert isinstance(found["infra2"], EtcdTimeout)
    assert (found["infra1"], found["infra3"]) == (KvHash(5, 10, 20), KvHash(7, 20, 20))


async def test_hashes_that_stay_incomparable_are_returned_as_they_are(tmp_path: Path) -> None:
    assert [each.compacted for each in await gather_hashes(tmp_path, infra3=9)] == [12, 12, 10]


async def test_after_a_member_without_a_hash_in_time_no_other_one_is_requested(tmp_path: Path) -> None:
    """The member may still compute it. infra1 is the leader, so infra2 is the first member."""
    reads: list[str | None] = []
    some = await gather_hashes(tmp_path, reads, infra3=None)
    assert [bool(each.why) for each in some] == [True, False, True]
    assert some[2].why == "no answer within 10 s"
    assert reads == ["infra2", "infra3"]


@asynccontextmanager
async def metrics_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve a member's metrics on a port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readline()
        text = METRICS if asked.startswith(b"GET /metrics ") else "404"
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + text.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def client(tmp_path: Path) -> ClientFiles:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    authority.issue("admin").write(tmp_path, "admin")
    authority.issue("server", ["127.0.0.1"]).write(tmp_path, "server")
    return ClientFiles(*(str(tmp_path / name) for name in ("ca.pem", "admin.pem", "admin-key.pem")))


def server_context(client: ClientFiles) -> ssl.SSLContext:
    """Return a context that requires a client certificate, as etcd with client-cert-auth does."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client.ca)
    folder = Path(client.ca).parent
    context.load_cert_chain(folder / "server.pem", folder / "server-key.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def gather_leaders(settings: dict[str, str], client: ClientFiles | None = None) -> LeaderChanges:
    return await read_leader_changes(LocalHost("infra1"), settings, client, BEGAN + 60)


@pytest.mark.parametrize("flag", ["listen-metrics-urls", "listen-client-urls"])
async def test_metrics_without_tls_are_read(flag: str) -> None:
    async with metrics_server() as port:
        urls = f"https://127.0.0.1:1,http://0.0.0.0:{port}"
        assert await gather_leaders({flag: urls}) == LeaderChanges("infra1", 6, 60)


async def test_metrics_that_require_a_certificate_are_read_with_the_operators_one(
    texts: Texts,
    client: ClientFiles,
) -> None:
    async with metrics_server(server_context(client)) as port:
        settings = {"listen-client-urls": f"https://127.0.0.1:{port}"}
        assert await gather_leaders(settings, client) == LeaderChanges("infra1", 6, 60)
        texts(await gather_leaders(settings))
        stranger = replace(client, ca=client.cert)
        refused = await gather_leaders(settings, stranger)
        texts(refused.why.partition(": ")[0])  # the rest is that of Python


async def test_without_metrics_there_is_a_reason(texts: Texts) -> None:
    async with metrics_server() as port:
        pass
    gone = await gather_leaders({"listen-metrics-urls": f"http://127.0.0.1:{port}"})
    texts(gone, PORT=port)
    texts(await gather_leaders({}))
