"""Ports of other members that a firewall blocks: refused before anything is installed, with pairs and the command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.observed.peer_ports import PEER_PORTS
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.errors import ConnectionLost
from etcdup.ops.world.observe import observe
from etcdup.remote.host import Result
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import (
    TOKEN,
    add_machines,
    machines_for,
    make_plan,
    running_network,
    spec_of,
    world_of,
)
from tests.support.texts import Texts

ADDRESSES = {host.name: host.address for host in spec_of(5).hosts}


def block(network: FakeNetwork, source: str, *targets: str) -> None:
    network.machines[source].blocked = {ADDRESSES[target] for target in targets}


@pytest.mark.parametrize(
    "firewall",
    [
        "firewalld",
        "ufw",
        "",
        "reboot",
    ],
)
async def test_a_firewall_is_found_before_anything_is_installed(
    texts: Texts, tmp_path: Path, firewall: str
) -> None:
    network = machines_for(spec_of())
    block(network, "infra1", "infra2")
    block(network, "infra3", "infra2")
    network.machines["infra2"].firewall = firewall
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    (reason,) = refusal.reasons
    assert reason.host == "infra2"
    texts(reason)
    assert network.commands == []


@pytest.mark.parametrize(("source", "target"), [("infra1", "infra4"), ("infra4", "infra1")])
async def test_a_new_host_needs_both_directions(tmp_path: Path, source: str, target: str) -> None:
    network = await running_network(spec_of(3), tmp_path)
    add_machines(network, spec_of(5))
    block(network, source, target)
    refusal = await make_plan(spec_of(5), network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {target}


async def test_members_of_a_cluster_are_not_tried(tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    block(network, "infra1", "infra2")
    assert isinstance(await make_plan(spec_of(3, "etcd: {heartbeat_ms: 110}\n"), network, tmp_path), Plan)


@pytest.mark.parametrize(("source", "target"), [("infra1", "infra2"), ("infra2", "infra3")])
async def test_a_replacement_tries_the_ports_before_the_old_member_is_removed(
    tmp_path: Path, source: str, target: str
) -> None:
    network = await running_network(spec_of(3), tmp_path)
    block(network, source, target)
    world = world_of(spec_of(3), network, tmp_path)
    world.replaced = "infra2"
    observed = await observe(world)
    ident = id_to_replace(spec_of(3), "infra2", observed)
    assert isinstance(ident, int)
    answer = plan_replacement(spec_of(3), "infra2", ident, observed, TOKEN)
    assert isinstance(answer, Refusal)
    assert [each.host for each in answer.reasons] == [target]


async def test_a_host_that_is_down_is_not_tried(texts: Texts, tmp_path: Path) -> None:
    """Its member can be replaced by a new one, or another member can, while it is down."""
    network = await running_network(spec_of(3), tmp_path)
    add_machines(network, spec_of(5))
    network.machines["infra2"].reachable = False
    block(network, "infra4", "infra2")
    answer = await make_plan(spec_of(5), network, tmp_path)
    texts(answer.reasons if isinstance(answer, Refusal) else ())


async def test_ports_are_tried_again_after_a_lost_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = machines_for(spec_of())
    block(network, "infra1", "infra2")
    world = world_of(spec_of(), network, tmp_path)
    host = world.hosts["infra1"]
    run = host.run

    async def lose_connection(argv: Sequence[str], **options: Any) -> Result:
        if PEER_PORTS in argv:
            raise ConnectionLost("infra1", "infra1: the connection was lost")
        return await run(argv, **options)

    monkeypatch.setattr(host, "run", lose_connection)
    assert (await observe(world)).blocked_ports == ()
    monkeypatch.setattr(host, "run", run)
    assert [each.target for each in (await observe(world)).blocked_ports] == ["infra2"]
