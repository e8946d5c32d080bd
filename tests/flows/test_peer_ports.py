"""Ports of other members that a firewall blocks: refused before anything is installed, with pairs and the command."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from etcdup.core.observed.peer_ports import PEER_PORTS
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import ConnectionLost
from etcdup.ops.world.observe import observe
from etcdup.remote.host import Result
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import add_machines, machines_for, make_plan, running_network, spec_of, world_of

ADDRESSES = {host.name: host.address for host in spec_of(5).hosts}


def block(network: FakeNetwork, source: str, *targets: str) -> None:
    network.machines[source].blocked = {ADDRESSES[target] for target in targets}


@pytest.mark.parametrize(
    ("firewall", "command"),
    [
        ("firewalld", "firewall-cmd --permanent --add-port=2379/tcp --add-port=2380/tcp"),
        ("ufw", "ufw allow"),
        ("", "nft add rule"),
        ("reboot", "nft add rule"),
    ],
)
async def test_a_firewall_is_found_before_anything_is_installed(
    tmp_path: Path, firewall: str, command: str
) -> None:
    network = machines_for(spec_of())
    block(network, "infra1", "infra2")
    block(network, "infra3", "infra2")
    network.machines["infra2"].firewall = firewall
    refusal = await make_plan(spec_of(), network, tmp_path)
    assert isinstance(refusal, Refusal)
    (reason,) = refusal.reasons
    assert reason.host == "infra2"
    assert "infra1, infra3" in reason.message
    assert "TCP port 2380:" in reason.message
    assert command in reason.hint
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


async def test_a_host_that_is_down_is_not_tried(tmp_path: Path) -> None:
    """Its member can be replaced by a new one, or another member can, while it is down."""
    network = await running_network(spec_of(3), tmp_path)
    add_machines(network, spec_of(5))
    network.machines["infra2"].reachable = False
    block(network, "infra4", "infra2")
    answer = await make_plan(spec_of(5), network, tmp_path)
    reasons = answer.reasons if isinstance(answer, Refusal) else ()
    assert not [reason for reason in reasons if "does not reach" in reason.message]


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
