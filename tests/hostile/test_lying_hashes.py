"""A member can report any hash, revision, compaction and alarm. It gets no other member replaced."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.observed.member import MemberSeen
from etcdup.errors import RefusedError
from etcdup.ops.maintain.repair import examine
from etcdup.ops.world.observe import observe
from etcdup.remote.etcd.client import EtcdClient, KvHash
from etcdup.testing.network import FakeNetwork
from tests.hostile.test_markers import SPEC
from tests.support.fake_world import running_network, world_of

LIAR = "infra3"


@dataclass(frozen=True)
class Lie:
    """What the member reports in place of its hash and its status."""

    hashed: Callable[[KvHash], KvHash] = lambda found: found
    status: Callable[[MemberSeen], MemberSeen] = lambda seen: seen
    alarm: str = ""


LIES = {
    "another hash": Lie(lambda found: found._replace(hash=1)),
    "another compaction": Lie(lambda found: found._replace(compact_revision=10**9)),
    "another revision": Lie(lambda found: found._replace(hash_revision=10**9)),
    "no revision": Lie(status=lambda seen: replace(seen, revision=0)),
    "a revision of the future": Lie(status=lambda seen: replace(seen, revision=2**62)),
    "an alarm of another member": Lie(alarm="infra2"),
    "an alarm, and another hash": Lie(lambda found: found._replace(hash=1), alarm="infra2"),
    "fewer members": Lie(
        lambda found: found._replace(hash=1),
        lambda seen: replace(
            seen, raft_term=2**62, members=tuple(each for each in seen.members if each.name == LIAR)
        ),
    ),
}


@dataclass
class Liar:
    """A client of the member that lies."""

    client: EtcdClient
    lie: Lie

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def status(self, *, timeout_s: float) -> MemberSeen:
        return self.lie.status(await self.client.status(timeout_s=timeout_s))

    async def hash_kv(self, revision: int = 0, *, timeout_s: float) -> KvHash:
        return self.lie.hashed(await self.client.hash_kv(revision, timeout_s=timeout_s))


async def examined(network: FakeNetwork, folder: Path, lie: Lie, name: str) -> str:
    """Return what `maintain repair` would do for this member."""
    world = world_of(SPEC, network, folder)
    honest = world.etcd

    async def etcd(each: str) -> Any:
        return Liar(await honest(each), lie) if each == LIAR else await honest(each)

    world.etcd, world.repaired = etcd, name
    try:
        return (await examine(world, await observe(world), name))[0].kind
    except RefusedError:
        return "refused"


@pytest.mark.parametrize("name", LIES)
async def test_a_lying_member_gets_no_other_member_replaced(tmp_path: Path, name: str) -> None:
    network, lie = await running_network(SPEC, tmp_path), LIES[name]
    cluster = network.etcd.only()
    ids = {member.name: ident for ident, member in cluster.members.items()}
    if lie.alarm:
        cluster.alarms = (f"CORRUPT on member {ids[lie.alarm]:x}",)
    for each in ("infra1", "infra2"):
        assert await examined(network, tmp_path, lie, each) in ("refused", "disarm")
    assert await examined(network, tmp_path, lie, LIAR) in ("refused", "disarm", "replace")
