"""Faults of guards and plans that test_exhaustive.py once found, each by its smallest state."""

import pytest

from etcdup.core.members.membership_guards import refuse_detach
from etcdup.core.plan.plan import Plan
from etcdup.core.plan.step import HostStep
from etcdup.core.plan.steps import InstallFiles, IssueCertificates
from etcdup.core.planner.planner import plan
from tests.support.fake_world import TOKEN, spec_of
from tests.support.initial_states import BASE, first_states, prepared, targets
from tests.support.observed_model import ObservedModel

SPEC = spec_of(3, version=BASE)


@pytest.mark.parametrize(
    ("members", "name", "allowed"),
    [
        ("HHH", "infra1", True),
        ("HHD", "infra1", False),
        ("HHD", "infra3", True),
        ("HDD", "infra1", False),  # it answers, has no leader, and may be the last one with the data
        ("HDD", "infra3", False),
    ],
)
def test_a_voter_is_detached_only_if_the_others_are_a_quorum(members: str, name: str, allowed: bool) -> None:
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))
    assert (refuse_detach(name, observed) == ()) == allowed


def test_a_host_with_an_expired_certificate_gets_the_new_one_in_the_same_plan() -> None:
    """Otherwise apply would find a step after the issue that the shown plan did not have."""
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple("HHE"))))
    answer = plan(SPEC, observed, TOKEN)
    assert isinstance(answer, Plan)
    issue, install = answer.steps
    assert isinstance(issue, IssueCertificates)
    assert isinstance(install, InstallFiles)
    assert install.host == "infra3"


@pytest.mark.parametrize("change", ["a setting", "an address"])
def test_a_running_learner_is_restarted_with_new_settings_after_its_promotion(change: str) -> None:
    """The shown plan has its restart, and its address is not changed before the promotion (rule 23)."""
    target = next(each for each in targets(3) if each.name == change and each.slots in ((), (2,)))
    cluster = prepared(target, SPEC, next(first_states(tuple("HHL"))))
    answer = plan(target.spec, ObservedModel(SPEC, target.spec).observed(cluster), TOKEN)
    assert isinstance(answer, Plan)
    kinds = [step.kind for step in answer.steps if isinstance(step, HostStep) and step.host == "infra3"]
    assert kinds.index("PromoteMember") < kinds.index("RestartMember")
    assert ("UpdatePeerUrl" in kinds) == (change == "an address")
    assert "UpdatePeerUrl" not in kinds[: kinds.index("PromoteMember")]
