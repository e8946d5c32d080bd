"""Which guard stands before which step: asked by the planner to predict, by apply on a fresh observation to permit."""

from collections.abc import Iterable

from etcdup.core.certs.ca_rotation import may_rotate
from etcdup.core.certs.connected_clients import may_drop_further
from etcdup.core.members.bootstrap import may_form
from etcdup.core.members.membership_guards import (
    may_add,
    may_detach,
    may_promote,
    may_remove,
    may_set_aside,
    may_update,
)
from etcdup.core.members.quorum import may_restart, may_start, may_trust_alarms
from etcdup.core.members.superseded import of_the_past
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refused
from etcdup.core.plan.restore_steps import CopyData, FreeSpace, PlaceData, SalvageData, UndoData
from etcdup.core.plan.step import Step
from etcdup.core.plan.steps import (
    AddLearner,
    DetachMember,
    EnableDowngrade,
    FormCluster,
    PromoteMember,
    RemoveMember,
    RestartMember,
    RotateAuthority,
    SetAside,
    StartMember,
    TakeSnapshot,
    UpdatePeerUrl,
)
from etcdup.core.recovery.disk_space import may_free
from etcdup.core.restore.stopped_check import may_place
from etcdup.core.spec.model import Spec


def against(step: Step, spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Every reason against doing this step now; empty where nothing stands against it."""
    if isinstance(step, FormCluster):
        return may_form(spec, observed)
    if isinstance(step, RotateAuthority):
        return may_rotate(step.stage, spec, observed)
    reason = _reason(step, spec, observed)
    return (reason,) if reason else ()


def against_first(steps: Iterable[Step], spec: Spec, observed: Observed) -> tuple[Refused, ...]:
    """Reasons against the first disruptive step. Later ones are judged when their turn has come: an earlier
    step may be what makes them safe."""
    first = next((step for step in steps if step.disruptive), None)
    return against(first, spec, observed) if first else ()


def _reason(step: Step, spec: Spec, observed: Observed) -> Refused | None:
    match step:
        case StartMember(host=host):
            past = (reason for reason in of_the_past(spec, observed) if reason.host == host)
            return may_start(host, spec, observed) or next(past, None)
        case RestartMember(host=host):
            return may_restart(host, observed) or may_drop_further(host, spec, observed)
        case AddLearner(host=host):
            return may_add(host, observed)
        case PromoteMember(host=host):
            return may_promote(host, spec, observed)
        case RemoveMember(member_id=member_id):
            return may_remove(int(member_id, 16), observed)
        case DetachMember(host=host):
            return may_detach(host, observed)
        case SetAside(host=host):
            return may_set_aside(host, observed)
        case UpdatePeerUrl(host=host):
            return may_update(host, observed)
        case FreeSpace():
            return may_free(step, spec, observed)
        case CopyData() | SalvageData() | PlaceData() | UndoData():
            return may_place(spec, observed)
        case TakeSnapshot() | EnableDowngrade():
            return may_trust_alarms(observed)
        case _:
            return None
