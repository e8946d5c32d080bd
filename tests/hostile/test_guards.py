"""Every disruptive step has a guard, and the guard answers for every observation."""

from dataclasses import MISSING, fields
from typing import Any

import pytest

from etcdup.core.plan.step import Step
from etcdup.core.plan.step_registry import STEPS
from etcdup.core.planner.guards import refuse_step
from tests.hostile.test_markers import SPEC, observed_of
from tests.support.fake_world import TOKEN

VALUES: dict[str, Any] = {
    "host": "infra2",
    "hosts": ("infra1", "infra2", "infra3"),
    "member_id": "2",
    "stage": "trust",
    "tokens": (TOKEN,),
    "token": TOKEN,
    "version": "3.6.14",
    "target": "3.5.33",
    "term": 1,
    "index": 1,
    "bytes": 0,
}
DISRUPTIVE = sorted(name for name, kind in STEPS.items() if kind.disruptive)


def step_of(kind: type[Step]) -> Step:
    """Return a step with a value in each field that has no default."""
    missing = [each.name for each in fields(kind) if each.default is MISSING]
    return kind(**{name: VALUES.get(name, "x") for name in missing})


@pytest.mark.parametrize("name", DISRUPTIVE)
@pytest.mark.parametrize("members", ["HHH", "HHD", "DDD", "UUU", "LHH", "FHH"])
def test_a_disruptive_step_has_a_guard(name: str, members: str) -> None:
    """`refuse_step` fails for a disruptive kind without a guard."""
    refuse_step(step_of(STEPS[name]), SPEC, observed_of(members))


@pytest.mark.parametrize("name", DISRUPTIVE)
def test_a_host_that_cannot_be_observed_is_not_changed(name: str) -> None:
    """Steps of this machine alone, and requests that a quorum decides, need no host."""
    needs_no_host = {
        "CancelDowngrade",
        "CheckV2Store",
        "DisarmSpaceAlarm",
        "EnsureRaftSnapshot",
        "RotateAuthority",
        "TakeSnapshot",
    }
    if name in needs_no_host:
        return
    assert refuse_step(step_of(STEPS[name]), SPEC, observed_of("UUU"))


def test_the_present_cluster_is_never_fenced_off() -> None:
    step = step_of(STEPS["FenceOff"])
    assert refuse_step(step, SPEC, observed_of())
