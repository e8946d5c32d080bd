"""The planner answers for every Observed, deterministically, and its first steps pass its own guards."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.core.members.bootstrap import refuse_prepare
from etcdup.core.observed.member import MemberSilent
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.plan import Plan, Refusal, plan_from_json, plan_to_json
from etcdup.core.plan.step import HostStep
from etcdup.core.planner.commands import commands_of
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec
from tests.support.fake_world import TOKEN, spec_of
from tests.support.observation_strategies import observations
from tests.support.state_exploration import early_starts
from tests.support.texts import Texts

pytestmark = pytest.mark.slow

SPECS = [spec_of(1), spec_of(3), spec_of(5)]


def specs_and_observations() -> st.SearchStrategy[tuple[Spec, Observed]]:
    return st.sampled_from(SPECS).flatmap(lambda spec: st.tuples(st.just(spec), observations(spec)))


@settings(max_examples=250, deadline=None)
@given(specs_and_observations())
def test_every_observation_has_an_answer(state: tuple[Spec, Observed]) -> None:
    spec, observed = state
    answer = plan(spec, observed, TOKEN)
    assert answer == plan(spec, observed, TOKEN)
    if isinstance(answer, Refusal):
        assert answer.reasons
        assert all(reason.message for reason in answer.reasons)
        return
    assert plan_from_json(plan_to_json(answer)) == answer
    assert all(step.reason for step in answer.steps)
    # With a new certificate, a silent member may answer again.
    renewed = [step for step in answer.steps if isinstance(step, InstallFiles) and step.proof == "handshake"]
    if not any(isinstance(observed.members.get(step.host), MemberSilent) for step in renewed):
        assert refuse_first_disruptive(answer.steps, spec, observed) == ()


@settings(max_examples=100, deadline=None)
@given(specs_and_observations())
def test_steps_change_only_reachable_hosts_of_this_cluster(state: tuple[Spec, Observed]) -> None:
    spec, observed = state
    answer = plan(spec, observed, TOKEN)
    if isinstance(answer, Refusal):
        return
    for step in answer.steps:
        if isinstance(step, HostStep):
            seen = observed.reachable()[step.host]
            assert refuse_prepare(spec, spec.host(step.host), seen) == ()


@settings(max_examples=250, deadline=None)
@given(specs_and_observations())
def test_no_member_is_started_with_what_the_plan_replaces(state: tuple[Spec, Observed]) -> None:
    spec, observed = state
    answer = plan(spec, observed, TOKEN)
    if isinstance(answer, Plan):
        assert list(early_starts(spec, observed, answer)) == []


@settings(max_examples=100, deadline=None)
@given(specs_and_observations())
def test_every_step_that_is_not_disruptive_has_commands(state: tuple[Spec, Observed]) -> None:
    spec, observed = state
    answer = plan(spec, observed, TOKEN)
    if isinstance(answer, Refusal):
        return
    for step in answer.steps:
        if isinstance(step, HostStep) and not step.disruptive:
            assert list(commands_of(step, spec, observed, answer.token))


def test_a_plan_equals_the_one_read_from_its_json(texts: Texts) -> None:
    with pytest.raises(ValueError) as caught:
        plan_from_json({"format": 1})
    texts(caught.value)
    with pytest.raises(ValueError) as caught:
        plan_from_json({"format": 2})
    texts(caught.value)
    assert plan_from_json(plan_to_json(Plan("prod"))) == Plan("prod")
