"""Apply while etcd refuses writes for space: the alarm costs no vote, and a larger quota resolves it."""

from dataclasses import replace
from pathlib import Path

import pytest

from etcdup.core.observed.host import Unreachable
from etcdup.core.plan.database_steps import DisarmSpaceAlarm
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.world.health import has_quorum, prove_each
from etcdup.ops.world.observe import observe
from tests.support.fake_world import bring_up, make_plan, planner_of, spec_of, world_of
from tests.support.kill_everywhere import Start, apply_and_check, kill_everywhere, prepare_start
from tests.support.texts import Texts

CONF = "/etc/etcd/etcd.conf"
MIB = 1024**2
FULL = "etcd: {quota: 400MiB}\n"
LARGER = "etcd: {quota: 1GiB}\n"


async def fill(folder: Path, after: Spec, version: str = "3.6.14") -> Start:
    """Return three members whose databases have reached their quota."""
    start = await prepare_start(spec_of(more=FULL, version=version), after, folder)
    cluster = start.network.etcd.only()
    cluster.db_size = 400 * MIB
    cluster.alarms = tuple(f"NOSPACE on member {each:x}" for each in sorted(cluster.members))
    return start


def kinds(plan: Plan | Refusal) -> list[str]:
    assert isinstance(plan, Plan), plan
    return [step.kind for step in plan.steps]


@pytest.mark.quick
@pytest.mark.parametrize("version", ["3.4.23", "3.5.33", "3.6.14", "3.7.1"])
async def test_a_larger_quota_is_rolled_out_and_the_alarm_disarmed(tmp_path: Path, version: str) -> None:
    """3.4 and 3.5 do not report the quota of the process: it is in its environment."""
    spec = spec_of(more=LARGER, version=version)
    network, folder = (await fill(tmp_path, spec, version)).copy_to("one")
    plan = await make_plan(spec, network, folder)
    assert kinds(plan) == [*["InstallFiles", "RestartMember"] * 3, "DisarmSpaceAlarm"]
    await apply_and_check(spec, network, folder)
    assert network.etcd.only().alarms == ()


async def test_raising_the_quota_is_finished_after_a_kill_at_any_command(tmp_path: Path) -> None:
    spec = spec_of(more=LARGER)
    assert await kill_everywhere(await fill(tmp_path, spec), spec) > 10


async def test_without_more_space_the_alarm_stays_and_no_member_is_disturbed(
    texts: Texts, tmp_path: Path
) -> None:
    spec = spec_of(more=FULL)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    plan = await make_plan(spec, network, folder)
    assert kinds(plan) == []
    with pytest.raises(EtcdupError) as failed:
        await bring_up(spec, network, folder)
    texts(failed.value)
    assert not isinstance(failed.value, PartlyApplied)
    assert len(network.etcd.only().alarms) == 3


async def test_freed_space_is_enough_to_disarm(tmp_path: Path) -> None:
    """An operator has compacted and defragmented, and the alarm is still active."""
    spec = spec_of(more=FULL)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    network.etcd.only().db_size = 50 * MIB
    assert kinds(await make_plan(spec, network, folder)) == ["DisarmSpaceAlarm"]
    await apply_and_check(spec, network, folder)


async def test_an_alarm_is_disarmed_only_if_every_process_has_space(tmp_path: Path) -> None:
    """The files on the hosts have the larger quota already, and the processes still have the small one."""
    spec = spec_of(more=LARGER)
    start = await fill(tmp_path, spec)
    whole, folder = start.copy_to("whole")
    await apply_and_check(spec, whole, folder)
    network, folder = start.copy_to("one")
    for name, machine in network.machines.items():
        machine.nodes[CONF] = whole.machines[name].nodes[CONF]
    answer = await make_plan(spec, network, folder)
    assert isinstance(answer, Plan)
    order = [type(step) for step in answer.steps if isinstance(step, RestartMember | DisarmSpaceAlarm)]
    assert order == [RestartMember, RestartMember, RestartMember, DisarmSpaceAlarm]


async def test_a_member_that_is_out_of_reach_keeps_its_quota_and_the_alarm(tmp_path: Path) -> None:
    """Its process answers, and etcdup cannot restart it with the larger quota."""
    spec = spec_of(more=LARGER)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    observed = await observe(world_of(spec, network, folder))
    gone = {"infra3": Unreachable("infra3", "no answer on port 22")}
    answer = planner_of(spec)(replace(observed, hosts={**observed.hosts, **gone}))
    assert kinds(answer) == ["InstallFiles", "RestartMember"] * 2


async def test_a_lost_member_is_replaced_during_the_alarm(tmp_path: Path) -> None:
    """The two others cannot be restarted, so the new member has to come first. etcd adds it during NOSPACE."""
    spec = spec_of((1, 2, 4), more=LARGER)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    network.crash("infra3")
    await apply_and_check(spec, network, folder, spared="infra3")
    assert network.etcd.only().alarms == ()


async def test_a_quota_below_the_size_of_the_database_is_refused(tmp_path: Path) -> None:
    spec = spec_of(more="etcd: {quota: 256MiB}\n")
    start = await prepare_start(spec_of(more=LARGER), spec, tmp_path)
    start.network.etcd.only().db_size = 300 * MIB
    answer = await make_plan(spec, start.network, start.folder)
    assert isinstance(answer, Refusal)
    assert {70, 77} <= set(answer.reasons[0].rules)


async def test_a_write_that_is_refused_for_space_costs_no_vote(tmp_path: Path) -> None:
    """The alarm is newer than the observation: the write of the proof itself raises it."""
    spec = spec_of(more=FULL)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    network.etcd.only().alarms = ()
    world = world_of(spec, network, folder)
    results = await prove_each(world, await observe(world))
    assert has_quorum(results)
    assert not any(result.ok for result in results)
    assert all(result.votes for result in results)


@pytest.mark.parametrize("kind", ["NOSPACE", "CORRUPT"])
async def test_a_follower_that_died_is_a_lost_vote_during_an_alarm_too(tmp_path: Path, kind: str) -> None:
    spec = spec_of(more=FULL)
    network, folder = (await fill(tmp_path, spec)).copy_to("one")
    cluster = network.etcd.only()
    cluster.alarms = (f"{kind} on member {min(cluster.members):x}",)
    world = world_of(spec, network, folder)
    assert has_quorum(await prove_each(world, await observe(world)))
    network.crash("infra2")
    network.crash("infra3")
    observed = await observe(world)
    results = await prove_each(world, observed)
    assert not has_quorum(results)
