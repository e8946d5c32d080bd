"""What may change in the member list while members run two minors, or before they do (rule 50)."""

from dataclasses import replace

import pytest

from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refusal
from etcdup.core.planner.planner import plan
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from etcdup.core.spec.model import Spec
from etcdup.core.spec.version import parse_version
from tests.support.fake_world import TOKEN, spec_of
from tests.support.initial_states import (
    BASE,
    NEW_MINOR,
    OLD_MINOR,
    STATES,
    Target,
    first_states,
    prepared,
    targets,
)
from tests.support.observed_model import ObservedModel


def observed_of(spec: Spec, members: str, downgrade_to: str = "") -> Observed:
    """Return the observation of members with these states, during a downgrade to this version."""
    kinds = tuple(STATES[word] for word in members.split(", "))
    base = spec_of(len(kinds), version=str(spec.version))
    cluster = prepared(Target("", spec), base, next(first_states(kinds)))
    observed = ObservedModel(base, spec).observed(cluster)
    return replace(observed, members={
        name: replace(seen, downgrade_to=downgrade_to) if isinstance(seen, MemberSeen) else seen
        for name, seen in observed.members.items()
    })  # fmt: skip


def reasons(answer: object) -> str:
    return "; ".join(reason.message for reason in answer.reasons) if isinstance(answer, Refusal) else ""


def applied(spec: Spec, members: str) -> str:
    """Return why `apply` is refused."""
    return reasons(plan(spec, observed_of(spec, members), TOKEN))


def replaced(spec: Spec, name: str, observed: Observed) -> str:
    """Return why `member replace` is refused."""
    member_id = id_to_replace(spec, name, observed)
    assert isinstance(member_id, int)
    return reasons(plan_replacement(spec, name, member_id, observed, TOKEN))


@pytest.mark.parametrize(
    ("members", "version", "downgrade_to", "refused"),
    [
        ("healthy, old minor, wiped", OLD_MINOR, "", ""),
        ("healthy, old minor, wiped", BASE, "", ""),
        ("healthy, old minor, down", OLD_MINOR, "", ""),
        ("healthy, old minor, wiped", NEW_MINOR, "", ""),  # over the minor in between
        ("healthy, old minor, wiped", OLD_MINOR, "3.5.0", ""),
        ("healthy, old minor, wiped", BASE, "3.5.0", "must start with the lower one, 3.5.33"),
        ("healthy, healthy, wiped", OLD_MINOR, "", "the minor version and the members at the same time"),
        ("old minor, old minor, wiped", BASE, "", "the minor version and the members at the same time"),
        ("old minor, old minor, healthy", OLD_MINOR, "", "cannot be replaced now"),
        ("old minor, healthy, old minor", BASE, "", "cannot be replaced now"),
    ],
)
def test_a_lost_member_is_replaced_with_a_minor_that_is_safe(
    members: str, version: str, downgrade_to: str, refused: str
) -> None:
    spec = spec_of(3, version=version)
    found = replaced(spec, "infra3", observed_of(spec, members, downgrade_to))
    assert refused in found
    assert bool(refused) == bool(found), found


@pytest.mark.parametrize(
    ("hosts", "members", "refused"),
    [
        ([1, 2, 3], "healthy, old minor, old minor, down, down", ""),
        ([1, 2, 4], "healthy, old minor, down", ""),
        ([1, 2, 3, 4, 5], "healthy, old minor, old minor", "infra4 cannot be added now"),
        ([1], "healthy, old minor, old minor", "infra2 cannot be removed now"),
    ],
)
def test_apply_removes_and_replaces_only_lost_members(hosts: list[int], members: str, refused: str) -> None:
    found = applied(spec_of(hosts, version=OLD_MINOR), members)
    assert refused in found
    assert bool(refused) == bool(found), found


@pytest.mark.parametrize(
    ("version", "refused"), [(OLD_MINOR, ""), (BASE, "must start with the lower one, 3.5.33")]
)
def test_a_member_gets_another_address_with_the_lower_minor(version: str, refused: str) -> None:
    """The host may have the new address already, so the previous cluster.yaml is no way out."""
    (moved, *_) = [each.spec for each in targets(3) if each.name == "an address"]
    found = applied(
        moved.model_copy(update={"version": parse_version(version)}), "healthy, old minor, healthy"
    )
    assert refused in found
    assert bool(refused) == bool(found), found
