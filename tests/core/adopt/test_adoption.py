"""What a release refuses, and which hint helps in which state."""

from dataclasses import replace

import pytest

from etcdup.core.adopt.adoption import plan_release
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from tests.core.adopt.test_verbs import SPEC, observation
from tests.support.texts import Texts


def with_stage(stage: str) -> Observed:
    """Return a cluster whose first host has this stage, while the others wait."""
    observed = observation()
    seen = observed.reachable()["infra1"]
    assert seen.marker is not None
    changed = replace(seen, marker=replace(seen.marker, adopted=stage))
    return replace(observed, hosts={**observed.hosts, "infra1": changed})


def test_hosts_that_wait_are_released() -> None:
    plan = plan_release(SPEC, with_stage("waiting"))
    assert isinstance(plan, Plan)
    assert len(plan.steps) == len(SPEC.hosts)


@pytest.mark.parametrize("stage", ["taken", ""])
def test_the_hint_names_a_command_that_is_not_refused(texts: Texts, stage: str) -> None:
    refusal = plan_release(SPEC, with_stage(stage))
    assert isinstance(refusal, Refusal)
    (reason,) = refusal.reasons
    texts(reason)
