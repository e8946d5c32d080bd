"""Every history of a change of all endpoints, while the operator has not confirmed that clients have the new ones.

No step may remove the last endpoint that works and that clients may know, wherever etcdup is killed and whichever host
crashes. With the confirmation, the change finishes (test_exhaustive.py).
"""

from dataclasses import dataclass

import pytest

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec
from tests.support.cluster_model import Cluster
from tests.support.fake_world import spec_of
from tests.support.initial_states import (
    BASE,
    Target,
    desired_spec_of,
    first_states,
    interchangeable_slots,
    member_kinds,
    prepared,
)
from tests.support.memoize import memoized
from tests.support.observed_model import TOKEN, ObservedModel
from tests.support.state_exploration import Exploration, State

pytestmark = pytest.mark.slow


@dataclass
class EndpointsKept(Exploration):
    """The exploration, in which no phase may remove the last known endpoint from the member list."""

    def _check_piece(self, state: State, before: Cluster, after: Cluster, kind: str) -> None:
        super()._check_piece(state, before, after, kind)
        self._expect(
            bool(self._known_in(after)), state, f"{kind} removes the last endpoint that clients know"
        )

    def _known_in(self, cluster: Cluster) -> set[str]:
        urls = {url for each in self.observed_model.entries(cluster) for url in each.client_urls}
        return urls & set(self.observed_model.recorded)


def at_other_addresses(size: int) -> Spec:
    """Return the same members, each with another address and client port."""
    spec = spec_of(size, version=BASE)
    moved = {"peer_port": 2390, "client_port": 2479}
    return spec.model_copy(update={"hosts": tuple(host.model_copy(update=moved) for host in spec.hosts)})


@pytest.mark.parametrize("change", ["all others", "all at other ports"])
@pytest.mark.parametrize("size", [1, 3])
def test_no_step_removes_the_last_known_endpoint(size: int, change: str) -> None:
    base = spec_of(size, version=BASE)
    others = spec_of([size + each for each in range(1, size + 1)], version=BASE)
    target = Target(change, others if change == "all others" else at_other_addresses(size))
    model = ObservedModel(base, target.spec, tuple(sorted(map(base.client_url, base.hosts))))

    def planner(observed: Observed) -> Plan | Refusal:
        return plan(target.spec, observed, TOKEN)

    exploration = EndpointsKept(model, desired_spec_of(base, target.spec), planner, crashes=size == 1)
    with memoized():
        for found in member_kinds(size, "HDU"):
            for cluster in first_states(found):
                first = prepared(target, base, cluster)
                exploration.alike = interchangeable_slots(target, first)
                exploration.explore(first)
    assert not exploration.violations, min(exploration.violations, key=len)
    assert exploration.ends["refused"] + exploration.ends["guarded"]
    assert exploration.runs
