"""Replace a member on fake machines: a lost disk, a dead host, a healthy member, also after a kill at every command."""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import copytree

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.load import load
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import (
    TOKEN,
    RecordingReporter,
    bring_up,
    machines_for,
    make_plan,
    spec_of,
    world_of,
)
from tests.support.kill_everywhere import kill_after, kill_points, quick_first

OLD, NEW = "192.168.8.67", "192.168.8.77"
TEXT = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 192.168.8.66}
  - {name: infra2, address: 192.168.8.67}
  - {name: infra3, address: 192.168.8.68}
"""


@dataclass(frozen=True)
class Loss:
    """What happens to infra2, and the cluster.yaml for the replacement."""

    happen: Callable[[FakeNetwork], object]
    spec: Spec
    moves: bool = False


def replace_machine(network: FakeNetwork) -> None:
    """Replace the host by a bare machine of the same name."""
    network.crash("infra2")
    network.add("infra2")


def do_nothing(network: FakeNetwork) -> None:
    """Leave the member healthy. It is replaced all the same."""


SAME, MOVED = spec_of(3), load(TEXT.replace(OLD, NEW))
LOSSES = {
    "a wiped disk": Loss(lambda network: network.wipe("infra2"), SAME),
    "a dead host, another at its address": Loss(replace_machine, SAME),
    "a dead host, another at a new address": Loss(replace_machine, MOVED, moves=True),
    "a healthy member": Loss(do_nothing, SAME),
}


async def bring_up_and_lose(folder: Path, loss: Loss) -> FakeNetwork:
    network = machines_for(SAME)
    await bring_up(SAME, network, folder)
    loss.happen(network)
    network.commands.clear()
    return network


def copy_network(network: FakeNetwork, start: Path, folder: Path) -> FakeNetwork:
    """Return a copy of the machines, with its own PKI. A new cluster would take ten times as long."""
    copytree(start, folder)
    return deepcopy(network)


async def replace(loss: Loss, network: FakeNetwork, folder: Path) -> None:
    """Run `etcdup member replace infra2` once, without the terminal."""
    world = world_of(loss.spec, network, folder)
    first = await observe(world)
    member_id = id_to_replace(loss.spec, "infra2", first, moves=loss.moves)
    assert isinstance(member_id, int), member_id

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_replacement(loss.spec, "infra2", member_id, observed, TOKEN)

    plan = planner(first)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    with Journal.in_folder(folder, loss.spec.name) as journal:
        results = await apply(world, plan, planner, RecordingReporter([]), journal)
    assert all(result.ok for result in results)


async def assert_whole(loss: Loss, network: FakeNetwork, folder: Path) -> None:
    left = await make_plan(loss.spec, network, folder)
    assert isinstance(left, Plan), left
    assert left.steps == ()
    members = network.etcd.only().members.values()
    assert sorted(member.name for member in members) == ["infra1", "infra2", "infra3"]
    assert not any(member.is_learner for member in members)
    urls = {url for member in members for url in member.peer_urls}
    assert urls == {loss.spec.peer_url(host) for host in loss.spec.hosts}


def id_of(network: FakeNetwork, name: str) -> int:
    return next(each.member_id for each in network.etcd.only().members.values() if each.name == name)


@pytest.mark.parametrize("name", LOSSES)
async def test_a_new_member_replaces_the_old_one(tmp_path: Path, name: str) -> None:
    loss = LOSSES[name]
    network = await bring_up_and_lose(tmp_path, loss)
    before = id_of(network, "infra2")
    await replace(loss, network, tmp_path)
    await assert_whole(loss, network, tmp_path)
    assert id_of(network, "infra2") != before


@pytest.mark.parametrize("name", quick_first(*LOSSES))
async def test_a_kill_after_any_command_is_finished_by_the_same_command(tmp_path: Path, name: str) -> None:
    await kill_everywhere(LOSSES[name], tmp_path, replace)


@pytest.mark.parametrize("name", ["a wiped disk", "a dead host, another at a new address"])
async def test_a_kill_after_the_marker_is_finished_by_apply(tmp_path: Path, name: str) -> None:
    async def finish(loss: Loss, network: FakeNetwork, folder: Path) -> None:
        marker = network.machines["infra2"].file("/etc/etcd/etcdup.json")
        is_marked = marker is not None and marker.content is not None and b'"replaces": "' in marker.content
        if not is_marked:
            assert len(network.commands) == 0
            await replace(loss, network, folder)
        await bring_up(loss.spec, network, folder)

    await kill_everywhere(LOSSES[name], tmp_path, finish)


async def kill_everywhere(
    loss: Loss, tmp_path: Path, finish: Callable[[Loss, FakeNetwork, Path], Awaitable[None]]
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    fresh = await bring_up_and_lose(start, loss)
    whole = copy_network(fresh, start, tmp_path / "whole")
    await replace(loss, whole, tmp_path / "whole")
    for cut in kill_points(len(whole.commands)):
        folder = tmp_path / str(cut)
        network = copy_network(fresh, start, folder)
        await kill_after(cut, network, replace(loss, network, folder))
        await finish(loss, network, folder)
        await assert_whole(loss, network, folder)


async def test_the_data_of_a_healthy_member_is_archived(tmp_path: Path) -> None:
    loss = LOSSES["a healthy member"]
    network = await bring_up_and_lose(tmp_path, loss)
    await replace(loss, network, tmp_path)
    paths = network.machines["infra2"].nodes
    assert [path for path in paths if "aside-" in path and path.endswith(".wal")]


async def test_the_same_command_with_an_address_replaces_once(tmp_path: Path) -> None:
    loss = LOSSES["a dead host, another at a new address"]
    network = await bring_up_and_lose(tmp_path, loss)
    await replace(loss, network, tmp_path)
    after = id_of(network, "infra2")
    await replace(loss, network, tmp_path)
    assert id_of(network, "infra2") == after


async def test_a_crash_of_another_host_stops_it_and_the_next_run_finishes(tmp_path: Path) -> None:
    """The crash of infra3 loses the quorum, not etcdup. After infra3 has booted, the same command finishes."""
    loss = LOSSES["a wiped disk"]
    start = tmp_path / "start"
    start.mkdir()
    fresh = await bring_up_and_lose(start, loss)
    whole = copy_network(fresh, start, tmp_path / "whole")
    await replace(loss, whole, tmp_path / "whole")
    for at in range(1, len(whole.commands)):
        folder = tmp_path / str(at)
        network = copy_network(fresh, start, folder)
        network.at(at, partial(network.crash, "infra3"))
        with pytest.raises(EtcdupError):
            await replace(loss, network, folder)
        network.reboot("infra3")
        await network.sleep(5)
        await replace(loss, network, folder)
        await assert_whole(loss, network, folder)


async def test_it_is_refused_if_no_member_answers(tmp_path: Path) -> None:
    network = await bring_up_and_lose(tmp_path, LOSSES["a wiped disk"])
    for name in ("infra1", "infra3"):
        network.crash(name)
    refused = id_to_replace(SAME, "infra2", await observe(world_of(SAME, network, tmp_path)))
    assert isinstance(refused, Refused)
    assert refused.message == "no member answers, so no new member can be added"


async def test_it_is_refused_if_the_host_is_unreachable(tmp_path: Path) -> None:
    loss = LOSSES["a wiped disk"]
    network = await bring_up_and_lose(tmp_path, loss)
    network.crash("infra2")
    with pytest.raises(EtcdupError, match=r"infra2 cannot be reached at 192\.168\.8\.67") as caught:
        await replace(loss, network, tmp_path)
    assert "`etcdup member replace infra2 --address ADDRESS`" in caught.value.hint


async def test_the_only_member_is_not_replaced(tmp_path: Path) -> None:
    spec = spec_of(1)
    network = machines_for(spec)
    await bring_up(spec, network, tmp_path)
    observed = await observe(world_of(spec, network, tmp_path))
    member_id = id_to_replace(spec, "infra1", observed)
    assert isinstance(member_id, int)
    answer = plan_replacement(spec, "infra1", member_id, observed, TOKEN)
    assert isinstance(answer, Refusal)
    assert [reason.message for reason in answer.reasons] == [
        "infra1 is the only voter: no other member has its data"
    ]
