"""Every world of 1, 3 and 5 members against every change of cluster.yaml: there is a plan or a refusal, and no plan,
wherever etcdup dies and whichever host crashes on the way, takes a quorum away or loses an acknowledged write.

Members are healthy, down, cut off, out of etcdup's sight alone, learners, added and unstarted, wiped, fresh machines,
of an older patch or minor, or have expired certificates. Worlds are multisets of these, with each kind as the leader
and each kind as what the change is about; machines that a change treats alike are not told apart.

Plans are carried out in every world of one and three, with a crash of every host at every point where no more than
one member is other than healthy; of five where no more than one is. ETCDUP_EXHAUSTIVE=1 goes further: crashes in every
world of three and of five with one odd member, and plans carried out in every world of five. That takes long.
"""

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.planner import plan
from etcdup.core.planner.replace import id_to_replace, plan_replacement
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

ALL_KINDS = "".join(STATES.values())
WHOLE = bool(os.environ.get("ETCDUP_EXHAUSTIVE"))
# Of five, those out of our sight alone, fresh and of an older patch are left to the whole run: to the planner they are
# cut off, wiped, and of an older minor.
KINDS = {1: ALL_KINDS, 3: ALL_KINDS, 5: ALL_KINDS if WHOLE else "HDULNWME"}
# How many members may be other than healthy for hosts to crash, and for plans to be carried out at all.
MAX_ODD_WITH_CRASHES = {1: 1, 3: 3 if WHOLE else 1, 5: 1 if WHOLE else 0}
MAX_ODD_CARRIED_OUT = {1: 1, 3: 3, 5: 5 if WHOLE else 1}
# The longest of all plans, with the most states on its way.
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
    """`member replace` asks first who is to be replaced."""
    return target.replaced is not None and isinstance(
        id_to_replace(target.spec, name_of(target), observed), Refused
    )


def first_clusters(size: int, target: Target) -> Iterator[tuple[int, Cluster]]:
    """Each with how many of its members are not healthy."""
    base = spec_of(list(range(1, size + 1)), version=BASE)
    for found in member_kinds(size, KINDS[size]):
        if concerns(target, found):
            for cluster in first_states(found):
                yield sum(kind != "H" for kind in found), prepared(target, base, cluster)


def explore_all(size: int, target: Target, told: Counter[str]) -> list[str]:
    """What must not happen, and did."""
    base = spec_of(list(range(1, size + 1)), version=BASE)
    sight = ObservedModel(base, target.spec)
    wish, planner = desired_spec_of(base, target.spec), planner_of(target)
    quiet, violations = Exploration(sight, wish, planner, crashes=False), []
    rough = Exploration(sight, wish, planner, answers=quiet.answers)
    for odd, cluster in first_clusters(size, target):
        observed, answer = quiet.answer(cluster)
        told["worlds"] += 1
        refused = isinstance(answer, Refusal) or is_refused_at_once(target, observed)
        told["refused" if refused else "planned"] += 1
        quiet.alike = rough.alike = interchangeable_slots(target, cluster)
        if is_refused_at_once(target, observed):
            continue
        less = target.name == LONGEST and size > 1 and not WHOLE
        if odd <= MAX_ODD_WITH_CRASHES[size] - less:
            rough.explore(cluster)
        elif odd <= MAX_ODD_CARRIED_OUT[size]:
            quiet.explore(cluster)
    for exploration in (quiet, rough):
        exploration.find_loops()
        told["states"] += len(exploration.came_from)
        told["phases done"] += exploration.runs
        violations += exploration.violations
    told["plans made"] += len(quiet.answers)
    return violations


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_no_plan_takes_a_quorum_or_loses_a_write(
    size: int, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told: Counter[str] = Counter()
    violations: list[str] = []
    for target in targets(size):
        if target.name == change:
            with memoized():
                violations += explore_all(size, target, told)
    with capsys.disabled():
        print(
            f"\n{size} members, {change}: " + ", ".join(f"{number} {what}" for what, number in told.items()),
            end=" ",
        )
    assert not violations, f"{len(violations)} violations, such as:\n" + min(violations, key=len)
