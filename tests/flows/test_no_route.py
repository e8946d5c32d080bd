"""sshd forbids TCP forwarding, and the client port is not reachable without it."""

from pathlib import Path

import pytest

from etcdup.core.plan.plan import Refusal
from etcdup.errors import EtcdupError
from etcdup.ops.world.observe import observe
from etcdup.ops.world.wait import all_proved, wait_for_condition
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import (
    add_machines,
    bring_up,
    machines_for,
    make_plan,
    running_network,
    spec_of,
    world_of,
)
from tests.support.texts import Texts


def traces(network: FakeNetwork) -> dict[str, set[str]]:
    return {name: set(machine.nodes) for name, machine in network.machines.items()}


async def test_a_first_apply_is_refused_before_anything_is_written(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of()
    network = machines_for(spec)
    network.machines["infra2"].routed = False
    before = traces(network)
    refusal = await make_plan(spec, network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert [each.host for each in refusal.reasons] == ["infra2"]
    texts(refusal.reasons[0])
    assert traces(network) == before
    assert network.commands == []
    network.machines["infra2"].routed = True
    assert all(result.ok for result in await bring_up(spec, network, tmp_path))


async def test_a_new_host_without_a_route_is_refused(tmp_path: Path) -> None:
    network = await running_network(spec_of(3), tmp_path)
    spec = spec_of(5)
    add_machines(network, spec)
    network.machines["infra4"].routed = False
    refusal = await make_plan(spec, network, tmp_path)
    assert isinstance(refusal, Refusal)
    assert {each.host for each in refusal.reasons} == {"infra4"}


async def test_a_wait_ends_at_an_error_that_does_not_change(texts: Texts, tmp_path: Path) -> None:
    spec = spec_of()
    network = await running_network(spec, tmp_path)
    world = world_of(spec, network, tmp_path)
    network.machines["infra2"].routed = False
    before = await observe(world)
    began = world.clock.now()
    names = ("infra1", "infra2", "infra3")
    with pytest.raises(EtcdupError) as caught:
        await wait_for_condition(world, before, all_proved(world), 60.0, names)
    texts(caught.value)
    assert world.clock.now() - began < 15
