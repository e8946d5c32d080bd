"""A firewall between peers, while SSH works: no member is stopped that could not connect again, and no wait is long."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from etcdup.core.plan.plan import Plan
from etcdup.core.plan.step import Step
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.flows.test_restart import restart_of, restarted
from tests.support.fake_world import planner_of, running_network, spec_of, world_of
from tests.support.texts import Texts

HOSTS = {host.name: host for host in spec_of(3).hosts}
Cut = Mapping[str, tuple[str, ...]]
# From each host to others.
BOTH_WAYS = {"infra2": ("infra1", "infra3"), "infra1": ("infra2",), "infra3": ("infra2",)}
OUT = {"infra2": ("infra1", "infra3")}
IN = {"infra1": ("infra2",), "infra3": ("infra2",)}
FROM_LEADER = {"infra2": ("infra1",), "infra1": ("infra2",)}
FROM_FOLLOWER = {"infra2": ("infra3",), "infra3": ("infra2",)}
DROPPED, REJECTED = "no answer within 2 s", "connection refused"


def cut(network: FakeNetwork, links: Cut, why: str = DROPPED) -> None:
    for source, targets in links.items():
        network.machines[source].blocked = {HOSTS[each].address for each in targets}
        network.machines[source].blocked_why = why


@dataclass
class AtRestart:
    """A Reporter that does something when etcd on infra2 restarts: until then, the members keep their connections."""

    act: Callable[[], None]

    def step(self, step: Step, state: str) -> None:
        """Ignore the states of steps."""

    def doing(self, host: str, what: str) -> None:
        if host == "infra2" and what.startswith("restarting"):
            self.act()


async def change_settings(network: FakeNetwork, folder: Path, act: Callable[[], None]) -> None:
    spec = spec_of(3, "etcd: {heartbeat_ms: 110}\n")
    world, planner = world_of(spec, network, folder), planner_of(spec)
    plan = planner(await observe(world))
    assert isinstance(plan, Plan)
    with Journal.in_folder(folder, spec.name) as journal:
        await apply(world, plan, planner, AtRestart(act), journal)


@pytest.mark.parametrize("why", [DROPPED, REJECTED])
@pytest.mark.parametrize("links", [BOTH_WAYS, FROM_LEADER], ids=["all others", "the leader"])
async def test_a_wait_for_a_member_without_peers_ends_early(
    texts: Texts, tmp_path: Path, links: Cut, why: str
) -> None:
    network = await running_network(spec_of(3), tmp_path)
    began = network.now()
    with pytest.raises(EtcdupError) as failed:
        await change_settings(network, tmp_path, lambda: cut(network, links, why))
    assert network.now() - began < 40.0
    texts(failed.value)
    # The files are not the cause, so the member runs with the new ones.
    process = network.machines["infra2"].process
    assert process is not None
    assert process.environment["ETCD_HEARTBEAT_INTERVAL"] == "110"
    for machine in network.machines.values():
        machine.blocked = set()
    await change_settings(network, tmp_path, lambda: None)


@pytest.mark.parametrize("links", [OUT, IN, FROM_FOLLOWER], ids=["out", "in", "a follower"])
async def test_one_direction_and_the_leader_are_enough(tmp_path: Path, links: Cut) -> None:
    """A connection serves both directions (rule 19), so the member becomes healthy."""
    network = await running_network(spec_of(3), tmp_path)
    await change_settings(network, tmp_path, lambda: cut(network, links))


async def test_a_member_that_could_not_connect_again_is_not_stopped(texts: Texts, tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    cut(network, BOTH_WAYS)
    network.commands.clear()
    with pytest.raises(EtcdupError) as failed:
        await restart_of("infra2")(spec_of(3), network, tmp_path)
    texts(failed.value)
    assert restarted(network) == []
