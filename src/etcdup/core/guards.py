"""Which guard stands before which step: asked by the planner to predict, by apply on a fresh observation to permit."""

from collections.abc import Iterable

from etcdup.core.bootstrap import may_form
from etcdup.core.observed import Observed
from etcdup.core.quorum import may_restart, may_start
from etcdup.core.spec import Spec
from etcdup.core.steps import FormCluster, Refused, RestartMember, StartMember, Step


def against(step: Step, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Every reason against doing this step now; empty where nothing stands against it."""
    match step:
        case FormCluster():
            return may_form(spec, observed)
        case StartMember(host=host):
            return _as_tuple(may_start(host, spec, observed))
        case RestartMember(host=host):
            return _as_tuple(may_restart(host, observed))
        case _:
            return ()


def against_first(steps: Iterable[Step], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Reasons against the first disruptive step. Later ones are judged when their turn has come: an earlier
    step may be what makes them safe."""
    first = next((step for step in steps if step.disruptive), None)
    return against(first, spec, observed) if first else ()


def _as_tuple(reason: Refused | None) -> tuple[Refused, ...]:
    return (reason,) if reason else ()
