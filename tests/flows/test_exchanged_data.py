"""Hosts that run with the data of other hosts: no member is changed, and the commands of the hint cure the cluster."""

import re
from pathlib import Path

import pytest

from etcdup.core.members.exchanged_data import refuse_exchanged_data
from etcdup.core.plan.member_steps import StartMember, UpdatePeerUrl
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.ops.world.observe import observe
from tests.support.broken_clusters import Broken, data_copied, data_exchanged
from tests.support.fake_world import TOKEN, make_plan

UPDATE = re.compile(r"`etcdup ctl --endpoint \S+ -- member update ([0-9a-f]+) --peer-urls=(\S+)`")


async def end_member(it: Broken, name: str) -> None:
    """End etcd on this host, and let the other members notice."""
    it.machines[name].end_etcd(0)
    await it.network.sleep(10.0)


@pytest.mark.parametrize("name", ["infra1", "infra2", "infra3"])
async def test_no_member_is_replaced_while_hosts_have_the_data_of_others(name: str, tmp_path: Path) -> None:
    """The member list has the peer URL of infra2 for the member on infra3: a replacement would stop both."""
    it = await data_exchanged(tmp_path)
    world = it.world()
    observed = await observe(world)
    ident = id_to_replace(it.spec, name, observed)
    assert isinstance(ident, int)
    assert isinstance(plan_replacement(it.spec, name, ident, observed, TOKEN), Refusal)


async def test_the_commands_of_the_hint_give_each_id_its_host(tmp_path: Path) -> None:
    """An operator who stops between the commands gets those that are left, and at the end `apply` does the last one."""
    it = await data_exchanged(tmp_path)
    for left in (3, 2):
        answer = await make_plan(it.spec, it.network, it.folder)
        assert isinstance(answer, Refusal)
        commands = UPDATE.findall(answer.reasons[0].hint)
        assert len(commands) == left
        ident, url = commands[0]
        it.network.etcd.only().update(int(ident, 16), [url], promotes=False)
        await it.network.sleep(10.0)
    answer = await make_plan(it.spec, it.network, it.folder)
    assert isinstance(answer, Plan)
    assert [type(step) for step in answer.steps] == [UpdatePeerUrl]


async def test_without_a_leader_no_command_can_change_the_member_list(tmp_path: Path) -> None:
    """infra1 was the only one that both others were connected to."""
    it = await data_exchanged(tmp_path)
    await end_member(it, "infra1")
    (refused,) = refuse_exchanged_data(it.spec, await observe(it.world()))
    assert not UPDATE.findall(refused.hint)


async def test_stopped_members_start_before_anything_else(tmp_path: Path) -> None:
    it = await data_exchanged(tmp_path)
    await end_member(it, "infra1")
    answer = await make_plan(it.spec, it.network, it.folder)
    assert isinstance(answer, Plan)
    assert [type(step) for step in answer.steps] == [StartMember]


async def test_a_host_with_a_copy_gets_a_new_member_when_the_copy_is_stopped(tmp_path: Path) -> None:
    it = await data_copied(tmp_path)
    await end_member(it, "infra2")
    world = it.world()
    observed = await observe(world)
    ident = id_to_replace(it.spec, "infra2", observed)
    assert isinstance(ident, int)
    answer = plan_replacement(it.spec, "infra2", ident, observed, TOKEN)
    assert isinstance(answer, Plan)
    disruptive = [step for step in answer.steps if isinstance(step, HostStep) and step.disruptive]
    assert {step.host for step in disruptive} == {"infra2"}
