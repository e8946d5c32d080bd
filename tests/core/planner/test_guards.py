"""Faults of guards and plans that test_exhaustive.py once found, each by its smallest state."""

from dataclasses import replace

import pytest

from etcdup.core.members.membership_guards import refuse_detach
from etcdup.core.members.quorum import refuse_restart
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.plan.certificate_steps import IssueCertificates
from etcdup.core.plan.host_steps import InstallFiles
from etcdup.core.plan.member_steps import RestartMember, StartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.step import HostStep
from etcdup.core.planner.guards import refuse_step, refuse_without_majority
from etcdup.core.planner.planner import plan
from tests.support.fake_world import TOKEN, spec_of
from tests.support.initial_states import BASE, first_states, prepared, targets
from tests.support.observed_model import ObservedModel
from tests.support.texts import Texts

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


@pytest.mark.parametrize(
    ("members", "refused"),
    [("HHH", False), ("HHX", False), ("HXX", True), ("HUU", True), ("HXD", False)],
)
def test_a_disruptive_step_needs_the_lock_on_a_majority_of_the_hosts(members: str, refused: bool) -> None:
    """Two operators can reach different hosts. Two majorities have a host in common, and it has one lock."""
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple(members))))
    assert bool(refuse_without_majority(SPEC, observed)) == refused
    restart = RestartMember(host="infra1", version=BASE, reason="a setting")
    assert (not refused) or refuse_step(restart, SPEC, observed)
    start = StartMember(host="infra1", reason="it does not run")
    assert refuse_step(start, SPEC, observed) == ()


def test_a_member_without_any_answer_is_not_counted_as_0_of_0(texts: Texts) -> None:
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple("DDD"))))
    (reason,) = refuse_restart("infra1", observed)
    texts(reason)


def test_a_host_that_cannot_join_is_taken_out_of_the_file_first() -> None:
    """The hint of SSH alone hides that the file can name fewer hosts."""
    five = spec_of(5, version=BASE)
    gone = {name: Unreachable(name, "no route to host", "check the network") for name in ("infra4", "infra5")}
    observed = ObservedModel(SPEC, SPEC).observed(next(first_states(tuple("HHH"))))
    observed = replace(
        observed,
        hosts={**observed.hosts, **gone},
        members={**observed.members, **dict.fromkeys(gone, MemberSilent("no route to host"))},
    )
    answer = plan(five, observed, TOKEN)
    assert isinstance(answer, Refusal)
    hint = next(reason.hint for reason in answer.reasons if reason.host == "infra4")
    assert hint == "take infra4 out of cluster.yaml for now, or make it reachable: check the network"
