"""The screens of an adopted cluster: its plan, the plans of a take-over and of giving a member back, and refusals."""

from pathlib import Path

import pytest

from etcdup.cli.views.plan_view import render_plan, render_refusal
from etcdup.cli.views.text import Paint
from etcdup.core.adopt.adoption import plan_adoption
from etcdup.core.adopt.equal_data import refuse_different_data
from etcdup.core.adopt.take_over import plan_give_back, plan_take_over
from etcdup.core.audit.findings import MemberHash
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.ops.adopt.local_files import issue_own_files
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.cli.golden import assert_golden
from tests.flows.test_take_over import inspect_waiting, run_in_containers, run_in_static_pods, take_over
from tests.support.fake_world import make_plan, spec_of, world_of
from tests.support.foreign_cluster import adopt, cluster_id, foreign_network

pytestmark = pytest.mark.quick

PLAIN = Paint(False)
SPEC = spec_of()
ALL = tuple(host.name for host in SPEC.hosts)


def shown(answer: Plan | Refusal) -> str:
    return render_plan(answer, PLAIN, 100) if isinstance(answer, Plan) else render_refusal(answer, PLAIN, 100)


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    """Return an adopted cluster, whose operator has the folder `tmp_path`."""
    network = await foreign_network(SPEC, tmp_path)
    await adopt(SPEC, network, tmp_path)
    return network


async def shown_take_over(network: FakeNetwork, folder: Path, *, static_pods: bool = False) -> str:
    world = world_of(SPEC, network, folder)
    observed, foreign = await observe(world), await inspect_waiting(world)
    return shown(plan_take_over(SPEC, observed, ALL, foreign, static_pods=static_pods))


async def test_the_plan_of_an_adopted_cluster(tmp_path: Path, network: FakeNetwork) -> None:
    assert_golden("plan-adopted.txt", shown(await make_plan(SPEC, network, tmp_path)))
    await take_over(SPEC, network, tmp_path, ("infra2",))
    assert_golden("plan-adopted-part.txt", shown(await make_plan(SPEC, network, tmp_path)))


async def test_the_plan_of_a_member_that_is_lost(tmp_path: Path, network: FakeNetwork) -> None:
    network.wipe("infra2")
    assert_golden("plan-adopted-lost.txt", shown(await make_plan(SPEC, network, tmp_path)))


async def test_the_plans_of_a_take_over(tmp_path: Path, network: FakeNetwork) -> None:
    assert_golden("take-over.txt", await shown_take_over(network, tmp_path))
    await take_over(SPEC, network, tmp_path, ("infra2", "infra3"))
    assert_golden("take-over-last.txt", await shown_take_over(network, tmp_path))
    network.machines["infra3"].process = None
    assert_golden("take-over-refused.txt", await shown_take_over(network, tmp_path))


async def test_the_plan_of_a_take_over_of_containers(tmp_path: Path, network: FakeNetwork) -> None:
    run_in_containers(network)
    assert_golden("take-over-containers.txt", await shown_take_over(network, tmp_path))


async def test_the_plans_of_a_take_over_of_static_pods(tmp_path: Path, network: FakeNetwork) -> None:
    run_in_static_pods(network)
    assert_golden("take-over-static-pods-refused.txt", await shown_take_over(network, tmp_path))
    assert_golden("take-over-static-pods.txt", await shown_take_over(network, tmp_path, static_pods=True))


async def test_the_plan_of_giving_back(tmp_path: Path, network: FakeNetwork) -> None:
    await take_over(SPEC, network, tmp_path, ("infra2",))
    observed = await observe(world_of(SPEC, network, tmp_path))
    assert_golden("give-back.txt", shown(plan_give_back(SPEC, observed, "infra2", begun=True)))
    await take_over(SPEC, network, tmp_path)
    observed = await observe(world_of(SPEC, network, tmp_path))
    assert_golden("give-back-refused.txt", shown(plan_give_back(SPEC, observed, "infra2", begun=False)))


async def test_a_corrupt_alarm_refuses_an_adoption(tmp_path: Path) -> None:
    network = await foreign_network(SPEC, tmp_path)
    issue_own_files(SPEC, tmp_path, network.now())
    world = world_of(SPEC, network, tmp_path)
    for cluster in network.etcd.by_id.values():
        cluster.alarms = ("CORRUPT",)
    observed = await observe(world)
    assert_golden("adopt-corrupt.txt", shown(plan_adoption(SPEC, cluster_id(network), observed)))


def test_different_data_refuses_an_adoption() -> None:
    hashes = [MemberHash(name, int(name == "infra2"), 40, revision=57) for name in ALL]
    late = [*hashes[:2], MemberHash("infra3", why="no answer within 10 s")]
    same = [MemberHash("infra1", 1, 40), MemberHash("infra2", 1, 41)]
    for name, each in (("different", hashes), ("late", late), ("not-compared", same)):
        assert_golden(f"adopt-data-{name}.txt", shown(Refusal("prod", refuse_different_data(each))))
