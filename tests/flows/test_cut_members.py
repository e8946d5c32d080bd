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
from etcdup.testing.machine import FakeProcess
from etcdup.testing.network import FakeNetwork
from tests.flows.test_defrag import fragment
from tests.flows.test_offline_defrag import offline_defrag
from tests.flows.test_restart import Run, drain_of, restart_of
from tests.flows.test_take_over import give_back, take_over
from tests.support.fake_world import planner_of, running_network, spec_of, world_of
from tests.support.foreign_cluster import adopt, foreign_network
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
        network.machines[source].blocked_at = network.now()


@dataclass
class AtRestart:
    """A Reporter that does something when etcd on infra2 restarts."""

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
    open_ports(network)
    await change_settings(network, tmp_path, lambda: None)


@pytest.mark.parametrize("links", [OUT, IN, FROM_FOLLOWER], ids=["out", "in", "a follower"])
async def test_one_direction_and_the_leader_are_enough(tmp_path: Path, links: Cut) -> None:
    """A connection serves both directions (rule 19), so the member becomes healthy."""
    network = await running_network(spec_of(3), tmp_path)
    await change_settings(network, tmp_path, lambda: cut(network, links))


@pytest.mark.parametrize(
    "run",
    [restart_of("infra2"), drain_of("infra2"), offline_defrag("infra2", every=True)],
    ids=["restart", "drain", "defrag --offline"],
)
async def test_a_member_that_could_not_connect_again_is_not_stopped(
    texts: Texts, tmp_path: Path, run: Run
) -> None:
    network = await running_network(spec_of(3), tmp_path)
    fragment(network)
    await network.sleep(60)
    cut(network, BOTH_WAYS)
    before = processes(network)
    with pytest.raises(EtcdupError) as failed:
        await run(spec_of(3), network, tmp_path)
    texts(failed.value)
    assert all(one is other for one, other in zip(processes(network), before, strict=True))
    open_ports(network)
    await run(spec_of(3), network, tmp_path)


@pytest.mark.parametrize("back", [False, True], ids=["take over", "give back"])
async def test_a_member_of_another_tool_that_could_not_connect_again_is_not_stopped(
    texts: Texts, tmp_path: Path, back: bool
) -> None:
    network = await foreign_network(spec_of(3), tmp_path)
    await adopt(spec_of(3), network, tmp_path)
    if back:
        await take_over(spec_of(3), network, tmp_path, ("infra2",))
    await network.sleep(60)
    cut(network, BOTH_WAYS)
    before = processes(network)
    with pytest.raises(EtcdupError) as failed:
        await switch(network, tmp_path, back=back)
    texts(failed.value)
    assert all(one is other for one, other in zip(processes(network), before, strict=True))
    open_ports(network)
    await switch(network, tmp_path, back=back)


async def switch(network: FakeNetwork, folder: Path, *, back: bool) -> None:
    """Run `adopt --give-back infra2`, or `adopt --take-over` for this member."""
    if back:
        await give_back(spec_of(3), network, folder, "infra2")
    else:
        await take_over(spec_of(3), network, folder, ("infra2",))


def open_ports(network: FakeNetwork) -> None:
    for machine in network.machines.values():
        machine.blocked = set()


def processes(network: FakeNetwork) -> list[FakeProcess | None]:
    """Return the processes. A member that was stopped, or that runs again, has another one."""
    return [machine.process for machine in network.machines.values()]
