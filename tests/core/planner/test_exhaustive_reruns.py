"""Every state that a kill leaves, and then another cluster.yaml or another command than before.

All hosts are well, so nothing may be refused: a state in which no plan can be made, or no first step may be done, locks
the operator out. The rules of test_exhaustive.py hold in each state.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.planner import plan
from tests.core.planner.test_exhaustive import CHANGES, planner_of
from tests.support.cluster_model import Cluster, Conf, Slot
from tests.support.fake_world import spec_of
from tests.support.initial_states import BASE, Target, desired_spec_of, first_states, prepared, targets
from tests.support.memoize import memoized
from tests.support.observed_model import TOKEN, ObservedModel
from tests.support.state_exploration import Exploration

pytestmark = pytest.mark.slow

OTHER_LABEL = {"base": "target", "target": "base"}
# An apply of the file that a killed `member replace` had.
REPLACED = [name for name in CHANGES if "replaced" in name]
EDITED = [name for name in CHANGES if name not in ("same", *REPLACED)]


def killed_at(size: int, target: Target) -> tuple[ObservedModel, list[Cluster]]:
    """Return every state in which a kill leaves this change of a healthy cluster."""
    base = spec_of(list(range(1, size + 1)), version=BASE)
    model = ObservedModel(base, target.spec)
    killed = Exploration(model, desired_spec_of(base, target.spec), planner_of(target), crashes=False)
    for cluster in first_states(("H",) * size):
        killed.explore(prepared(target, base, cluster))
    assert not killed.violations, killed.violations[0]
    return model, list(dict.fromkeys(state.cluster for state in killed.came_from))


def explore_all(found: Exploration, states: list[Cluster], *, is_minor: bool = False) -> None:
    for cluster in states:
        found.explore(cluster)
    found.find_loops()
    assert not found.violations, f"{len(found.violations)} violations, such as:\n" + min(
        found.violations, key=len
    )
    assert not found.ends["guarded"], f"a guard refuses the first step: {found.ends}"
    lock_outs = [
        f"{[reason.message for reason in answer.reasons]}\n{found.trace(state)}"
        for state in found.came_from
        if isinstance(answer := found.answer(state.cluster)[1], Refusal)
        and not (is_minor and has_stopped_voter(state.cluster))
    ]
    assert not lock_outs, min(lock_outs, key=len)


def has_stopped_voter(cluster: Cluster) -> bool:
    """Return whether a kill left a member stopped. The file that was applied starts it, before the minor changes."""
    return any(slot.listed == "voter" and slot.process is None for slot in cluster.slots)


def has_other_marker(cluster: Cluster, first: Cluster) -> bool:
    """Return whether more than certificates differs.

    The certificates are archived before the marker is written. Without the marker, apply names the command to type, if
    the new machine has another address. On the same machine, apply gives the member new certificates.
    """
    return any(
        replace(slot, certs=0) != replace(other, certs=0)
        for slot, other in zip(cluster.slots, first.slots, strict=True)
    )


def with_other_labels(cluster: Cluster) -> Cluster:
    """Return the cluster for a model in which the previous file is the new one."""

    def conf(each: Conf) -> Conf:
        return each._replace(spec=OTHER_LABEL[each.spec])

    def slot(each: Slot) -> Slot:
        return replace(
            each,
            url=" ".join(sorted(OTHER_LABEL[word] for word in each.url.split())),
            conf=conf(each.conf) if each.conf else None,
            process=each.process._replace(conf=conf(each.process.conf)) if each.process else None,
        )

    return replace(cluster, slots=tuple(map(slot, cluster.slots)))


def of_change(size: int, change: str) -> Iterator[Target]:
    """Yield the targets of this change. It may concern any member, and all members are alike here."""
    yield from [target for target in targets(size) if target.name == change][:1]


@pytest.mark.parametrize("change", EDITED)
@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_previous_file_can_be_written_back_after_any_kill(size: int, change: str) -> None:
    for target in of_change(size, change):
        with memoized():
            _, states = killed_at(size, target)
        with memoized():
            base = spec_of(list(range(1, size + 1)), version=BASE)
            # A change of the version alone has the same label for both files.
            swapped = desired_spec_of(base, target.spec).label == "target"
            model = ObservedModel(target.spec if swapped else base, base)

            def planned(observed: Observed) -> Plan | Refusal:
                return plan(base, observed, TOKEN)  # noqa: B023 (used before the next round)

            back = Exploration(model, desired_spec_of(model.base, base), planned, crashes=False)
            explore_all(
                back,
                [with_other_labels(each) if swapped else each for each in states],
                is_minor="minor" in change,
            )


@pytest.mark.parametrize("change", REPLACED)
@pytest.mark.parametrize("size", [3, 5])
def test_apply_finishes_a_killed_replacement(size: int, change: str) -> None:
    for target in of_change(size, change):
        with memoized():
            model, (first, *begun) = killed_at(size, target)
        with memoized():

            def planned(observed: Observed) -> Plan | Refusal:
                return plan(target.spec, observed, TOKEN)  # noqa: B023 (used before the next round)

            finish = Exploration(model, desired_spec_of(model.base, target.spec), planned, crashes=False)
            explore_all(
                finish, [each for each in begun if "elsewhere" not in change or has_other_marker(each, first)]
            )
