"""Every state of 1, 3 and 5 members against every change of cluster.yaml.

There is always a plan or a refusal. No plan takes the quorum away or loses an acknowledged write, wherever etcdup is
killed and whichever host crashes.

Members are healthy, down, unreachable for all, unreachable only for etcdup, learners, added and not started, wiped,
fresh machines, of an older patch or minor, stopped with a newer minor, or have expired certificates. States are
multisets of these kinds, with each kind as the leader and each kind as the subject of the change. Machines that a
change treats alike are not distinguished.

Plans are carried out in every state of one and three members, and in states of five with at most one member that is not
healthy. Hosts crash at every point in states of one and three with at most one member that is not healthy, and in the
healthy state of five. ETCDUP_EXHAUSTIVE=1 does more: crashes in every state of three, and of five with one member that
is not healthy; plans in every state of five. That takes long.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.planner import plan
from etcdup.core.planner.replace import id_to_replace, plan_replacement
from tests.support.cases import one_in_turn
from tests.support.cluster_model import Cluster
from tests.support.fake_world import spec_of
from tests.support.initial_states import (
    BASE,
    STATES,
    Target,
    concerns,
    desired_spec_of,
    first_states,
    interchangeable_slots,
    member_kinds,
    prepared,
    targets,
)
from tests.support.memoize import memoized
from tests.support.observed_model import TOKEN, ObservedModel
from tests.support.state_exploration import Exploration, Planner

pytestmark = pytest.mark.slow

ALL_KINDS = "".join(STATES.values())
WHOLE = bool(os.environ.get("ETCDUP_EXHAUSTIVE"))
# Of five members, only the whole run has these kinds: unreachable only for etcdup, fresh, and of an older patch. To the
# planner they are the same as unreachable, wiped, and of an older minor.
KINDS = {1: ALL_KINDS, 3: ALL_KINDS, 5: ALL_KINDS if WHOLE else "HDULNWME"}
# The largest number of members that are not healthy: for states with crashes, and for plans that are carried out.
MAX_UNHEALTHY_WITH_CRASHES = {1: 1, 3: 3 if WHOLE else 1, 5: 1 if WHOLE else 0}
MAX_UNHEALTHY_CARRIED_OUT = {1: 1, 3: 3, 5: 5 if WHOLE else 1}
# The longest of all plans, with the most states.
LONGEST = "all others"
CHANGES = list(dict.fromkeys(target.name for target in targets(3)))


def planner_of(target: Target) -> Planner:
    def planned(observed: Observed) -> Plan | Refusal:
        if target.replaced is None:
            return plan(target.spec, observed, TOKEN)
        return plan_replacement(target.spec, name_of(target), target.replaced * 256 + 256, observed, TOKEN)

    return planned


def name_of(target: Target) -> str:
    assert target.replaced is not None
    return f"infra{target.replaced + 1}"


def is_refused_at_once(target: Target, observed: Observed) -> bool:
    """Return whether `member replace` refuses before it plans, because it cannot name the member to replace."""
    return target.replaced is not None and isinstance(
        id_to_replace(target.spec, name_of(target), observed), Refused
    )


def first_clusters(size: int, target: Target) -> Iterator[tuple[int, Cluster]]:
    """Yield each first state with the number of its members that are not healthy."""
    base = spec_of(list(range(1, size + 1)), version=BASE)
    for found in member_kinds(size, KINDS[size]):
        if concerns(target, found):
            for cluster in first_states(found):
                yield sum(kind != "H" for kind in found), prepared(target, base, cluster)


def explore_all(size: int, target: Target, counts: Counter[str]) -> list[str]:
    """Explore all states for a target and return the violations. `counts` gets the figures to print."""
    base = spec_of(list(range(1, size + 1)), version=BASE)
    model = ObservedModel(base, target.spec)
    desired, planner = desired_spec_of(base, target.spec), planner_of(target)
    without_crashes, violations = Exploration(model, desired, planner, crashes=False), []
    with_crashes = Exploration(model, desired, planner, answers=without_crashes.answers)
    for unhealthy, cluster in first_clusters(size, target):
        observed, answer = without_crashes.answer(cluster)
        counts["first states"] += 1
        refused = isinstance(answer, Refusal) or is_refused_at_once(target, observed)
        counts["refused" if refused else "planned"] += 1
        without_crashes.alike = with_crashes.alike = interchangeable_slots(target, cluster)
        if is_refused_at_once(target, observed):
            continue
        less = target.name == LONGEST and size > 1 and not WHOLE
        if unhealthy <= MAX_UNHEALTHY_WITH_CRASHES[size] - less:
            with_crashes.explore(cluster)
        elif unhealthy <= MAX_UNHEALTHY_CARRIED_OUT[size]:
            without_crashes.explore(cluster)
    for exploration in (without_crashes, with_crashes):
        exploration.find_loops()
        counts["states"] += len(exploration.came_from)
        counts["phases done"] += exploration.runs
        violations += exploration.violations
    counts["plans made"] += len(without_crashes.answers)
    return violations


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [1, *one_in_turn(3, 5)])
def test_no_plan_takes_a_quorum_or_loses_a_write(
    size: int, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    counts: Counter[str] = Counter()
    violations: list[str] = []
    for target in targets(size):
        if target.name == change:
            with memoized():
                violations += explore_all(size, target, counts)
    with capsys.disabled():
        print(
            f"\n{size} members, {change}: "
            + ", ".join(f"{number} {what}" for what, number in counts.items()),
            end=" ",
        )
    assert not violations, f"{len(violations)} violations, such as:\n" + min(violations, key=len)
