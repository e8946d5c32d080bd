"""`certs renew` on fake machines: its plan, the order in which files are replaced, and the state after a kill."""

import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.certs.renewal import certs_to_renew, plan_renewal
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.spec.model import Spec
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.observe import observe
from etcdup.testing.network import FakeNetwork
from tests.support.fake_world import RecordingReporter, bring_up, machines_for, make_plan, spec_of, world_of
from tests.support.kill_everywhere import kill_after, kill_points
from tests.support.observation_strategies import observations
from tests.support.texts import Texts

SPECS = [spec_of(1), spec_of(3)]
ALL = 100_000


@pytest.fixture
async def network(tmp_path: Path) -> FakeNetwork:
    network = machines_for(spec_of())
    (tmp_path / "pki-home").mkdir()
    await bring_up(spec_of(), network, tmp_path / "pki-home")
    network.commands.clear()
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pki-home"


async def plan_renew(spec: Spec, network: FakeNetwork, folder: Path, days: int | None) -> Plan | Refusal:
    observed = await observe(world_of(spec, network, folder))
    return plan_renewal(spec, observed, certs_to_renew(spec, observed, days))


async def renew(spec: Spec, network: FakeNetwork, folder: Path, days: int | None = ALL) -> Observed:
    world = world_of(spec, network, folder)
    observed = await observe(world)
    chosen = certs_to_renew(spec, observed, days)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_renewal(spec, fresh, chosen)

    plan = planner(observed)
    assert isinstance(plan, Plan), plan
    with Journal.in_folder(folder, spec.name) as journal:
        return await apply_without_proof(world, plan, planner, RecordingReporter([]), journal)


def kinds(answer: Plan | Refusal) -> list[str]:
    assert isinstance(answer, Plan), answer
    return [step.kind for step in answer.steps]


async def test_nothing_is_due_in_a_young_cluster(network: FakeNetwork, folder: Path) -> None:
    assert kinds(await plan_renew(spec_of(), network, folder, None)) == []
    assert kinds(await plan_renew(spec_of(), network, folder, 364)) == []


async def test_with_days_all_leaves_are_renewed_and_nothing_is_restarted(
    network: FakeNetwork, folder: Path
) -> None:
    assert kinds(await plan_renew(spec_of(), network, folder, 366)) == [
        "IssueCertificates",
        *["InstallFiles"] * 3,
    ]
    before = world_of(spec_of(), network, folder).pki.observe()
    processes = {name: machine.process for name, machine in network.machines.items()}
    await renew(spec_of(), network, folder)
    after = world_of(spec_of(), network, folder).pki.observe()
    assert all(after.certs[role].fingerprint != before.certs[role].fingerprint for role in before.certs)
    assert after.trust == before.trust
    assert {name: machine.process for name, machine in network.machines.items()} == processes
    assert kinds(await make_plan(spec_of(), network, folder)) == []


@pytest.mark.quick
async def test_a_kill_at_any_command_leaves_the_rest_to_the_next_apply(
    network: FakeNetwork, folder: Path
) -> None:
    whole, path = deepcopy(network), Path(shutil.copytree(folder, folder.with_name("whole")))
    await renew(spec_of(), whole, path)
    assert len(whole.commands) >= 6
    for cut in kill_points(len(whole.commands)):
        cut_off, path = deepcopy(network), Path(shutil.copytree(folder, folder.with_name(str(cut))))
        await kill_after(cut, cut_off, renew(spec_of(), cut_off, path))
        assert all(result.ok for result in await bring_up(spec_of(), cut_off, path))
        assert kinds(await make_plan(spec_of(), cut_off, path)) == []


async def test_other_drift_is_left_to_apply(network: FakeNetwork, folder: Path) -> None:
    conf = network.machines["infra1"].nodes["/etc/etcd/etcd.conf"]
    conf.content = b"# another\n"
    await renew(spec_of(), network, folder)
    assert network.machines["infra1"].nodes["/etc/etcd/etcd.conf"].content == b"# another\n"


async def test_a_stopped_member_is_started(network: FakeNetwork, folder: Path) -> None:
    network.machines["infra2"].process = None
    assert kinds(await plan_renew(spec_of(), network, folder, None)) == ["StartMember"]


async def test_an_unreachable_host_is_noted(network: FakeNetwork, folder: Path) -> None:
    network.machines.pop("infra3")
    answer = await plan_renew(spec_of(), network, folder, ALL)
    assert kinds(answer) == ["IssueCertificates", "InstallFiles", "InstallFiles"]
    assert answer.notes == ("infra3 cannot be reached and keeps its old certificates: no such machine",)


async def test_a_host_that_trusts_another_ca_is_refused(
    network: FakeNetwork, folder: Path, texts: Texts
) -> None:
    network.machines["infra1"].nodes["/etc/etcd/pki/ca.pem"].content = b"another"
    answer = await plan_renew(spec_of(), network, folder, ALL)
    assert isinstance(answer, Refusal)
    texts(answer)


async def test_provided_certificates_are_not_renewed(
    texts: Texts, network: FakeNetwork, folder: Path
) -> None:
    observed = await observe(world_of(spec_of(), network, folder))
    tls = spec_of().tls.model_copy(update={"mode": "provided"})
    answer = plan_renewal(spec_of().model_copy(update={"tls": tls}), observed, {})
    assert isinstance(answer, Refusal)
    texts(answer.reasons[0])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(SPECS).flatmap(lambda spec: st.tuples(st.just(spec), observations(spec))),
    st.sampled_from([None, 30, ALL]),
)
def test_every_observation_has_an_answer(case: tuple[Spec, Observed], days: int | None) -> None:
    spec, observed = case
    answer = plan_renewal(spec, observed, certs_to_renew(spec, observed, days))
    if isinstance(answer, Plan):
        assert all(step.reason for step in answer.steps)
        assert refuse_first_disruptive(answer.steps, spec, observed) == ()
