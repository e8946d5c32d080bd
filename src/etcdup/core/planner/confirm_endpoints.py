"""The plan of a verb with `--consumers-have endpoints`: first record that clients have these endpoints."""

from collections.abc import Callable
from dataclasses import replace

from etcdup.core.members.endpoints import confirm_endpoints
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.model import Spec


def with_confirmed_endpoints(
    spec: Spec, planner: Callable[[Observed], Plan | Refusal]
) -> Callable[[Observed], Plan | Refusal]:
    """Return the planner with this step before all others. Once the step is done, the ordinary plan continues."""

    def confirmed(observed: Observed) -> Plan | Refusal:
        first, after = confirm_endpoints(spec, observed)
        follows = planner(after)
        return follows if isinstance(follows, Refusal) else replace(follows, steps=(*first, *follows.steps))

    return confirmed
