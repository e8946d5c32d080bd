"""Change versions on fake machines: every hop, the way back, also after a kill at every command."""

from pathlib import Path

import pytest

from etcdup.core.host.actions import RESTART_UNIT
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import add_machines, bring_up, make_plan, running_network, spec_of
from tests.support.kill_everywhere import crash_everywhere, kill_after, kill_everywhere, prepare_start
from tests.support.texts import Texts


async def bring_up_version(version: str, folder: Path) -> FakeNetwork:
    """Return machines with a healthy cluster of three members of this version."""
    return await running_network(spec_of(version=version), folder)


async def apply_version(version: str, network: FakeNetwork, folder: Path) -> None:
    spec = spec_of(version=version)
    results = await bring_up(spec, network, folder)
    assert all(result.ok for result in results)
    left = await make_plan(spec, network, folder)
    assert isinstance(left, Plan), left
    assert left.steps == ()
    for machine in network.machines.values():
        assert machine.process is not None
        assert machine.process.exe == f"/opt/etcd/{version}/etcd"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("3.4.23", "3.5.33"),
        ("3.4.23", "3.7.1"),
        ("3.5.33", "3.6.14"),
        ("3.6.14", "3.7.1"),
        ("3.7.1", "3.6.14"),
        ("3.7.1", "3.5.33"),
    ],
)
async def test_every_member_reaches_the_version(tmp_path: Path, before: str, after: str) -> None:
    network = await bring_up_version(before, tmp_path)
    await apply_version(after, network, tmp_path)


async def test_a_plan_over_several_minors_shows_every_hop(tmp_path: Path) -> None:
    network = await bring_up_version("3.4.23", tmp_path)
    answer = await make_plan(spec_of(version="3.7.1"), network, tmp_path)
    assert isinstance(answer, Plan)
    restarts = [step for step in answer.steps if isinstance(step, RestartMember)]
    assert [step.version for step in restarts] == ["3.5.33"] * 3 + ["3.6.14"] * 3 + ["3.7.1"] * 3
    assert [step.no_way_back for step in restarts] == [False, False, True] * 3
    assert [step.kind for step in answer.steps].count("TakeSnapshot") == 3
    assert [step.kind for step in answer.steps].count("CheckV2Store") == 3
    assert [step.kind for step in answer.steps].count("EnsureRaftSnapshot") == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("3.5.16", "3.6.14"),
        ("3.5.33", "3.4.45"),
    ],
)
async def test_an_impossible_change_is_refused(texts: Texts, tmp_path: Path, before: str, after: str) -> None:
    network = await bring_up_version(before, tmp_path)
    answer = await make_plan(spec_of(version=after), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_enabled_authentication_forbids_the_upgrade_from_3_4_to_3_5(
    texts: Texts, tmp_path: Path
) -> None:
    network = await bring_up_version("3.4.23", tmp_path)
    network.etcd.only().auth = True
    answer = await make_plan(spec_of(version="3.5.33"), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_a_hop_does_not_start_while_a_member_is_down(texts: Texts, tmp_path: Path) -> None:
    network = await bring_up_version("3.5.33", tmp_path)
    network.crash("infra2")
    answer = await make_plan(spec_of(version="3.6.14"), network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_members_and_minor_are_not_changed_together(texts: Texts, tmp_path: Path) -> None:
    network = await bring_up_version("3.5.33", tmp_path)
    spec = spec_of([1, 2, 4], version="3.6.14")
    add_machines(network, spec)
    answer = await make_plan(spec, network, tmp_path)
    assert isinstance(answer, Refusal)
    texts(answer)


@pytest.mark.parametrize(("before", "after"), [("3.5.33", "3.6.14"), ("3.6.14", "3.5.33")])
async def test_a_kill_after_any_command_is_finished_by_the_next_apply(
    tmp_path: Path, before: str, after: str
) -> None:
    wanted = spec_of(version=after)
    assert await kill_everywhere(await prepare_start(spec_of(version=before), wanted, tmp_path), wanted) > 20


@pytest.mark.parametrize("killed", [True, False])
async def test_a_host_may_crash_at_any_command(tmp_path: Path, killed: bool) -> None:
    wanted = spec_of(version="3.6.14")
    start = await prepare_start(spec_of(version="3.5.33"), wanted, tmp_path)
    assert await crash_everywhere(start, wanted, killed=killed, stride=1) > 20


async def test_a_half_done_upgrade_goes_back(tmp_path: Path) -> None:
    whole = await bring_up_version("3.5.33", tmp_path)
    await apply_version("3.6.14", whole, tmp_path)
    restarts = [n for n, (_, command) in enumerate(whole.commands) if RESTART_UNIT in command]
    folder = tmp_path / "half"
    folder.mkdir()
    network = await bring_up_version("3.5.33", folder)
    await kill_after(restarts[1] + 1, network, bring_up(spec_of(version="3.6.14"), network, folder))
    await apply_version("3.5.33", network, folder)
