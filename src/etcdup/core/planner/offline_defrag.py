"""The plan of `maintain defrag --offline`: one member after the other is stopped, defragmented and started.

It is a rolling restart: followers first, leader last, and refused while `apply` has other work (rules 38, 39, 79). No
state is stored. A member that is stopped starts first, and its own answer then says whether it is due.
"""

from collections.abc import Collection
from dataclasses import replace

from etcdup.core.adopt.verbs import refuse_step_of_waiting
from etcdup.core.maintain.defrag import (
    defrag_order,
    members_due,
    offline_step,
    reasons_of_member,
    refuse_any_defrag,
)
from etcdup.core.members.quorum import healthy, refuse_restart, voter_count
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.members.space import LITTLE_FREE, reclaimable
from etcdup.core.observed.model import Observed
from etcdup.core.plan.database_steps import DefragmentOffline
from etcdup.core.plan.member_steps import StartMember
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.guards import refuse_first_disruptive
from etcdup.core.planner.planner import plan
from etcdup.core.planner.restart import refuse_pending
from etcdup.core.spec.model import Spec

_NOTE = "the clients of a member connect to the other members while it is stopped"
_ONE_VOTER = "the cluster has one voter: no client is served while it is stopped"


def plan_offline_defrag(
    spec: Spec, observed: Observed, token: str, names: Collection[str], over: int, *, every: bool = False
) -> Plan | Refusal:
    """Return the members that are left to defragment, or the reasons against that.

    Without `names`, those are due that free more than `over` bytes, or whose file is near the quota. Members that would
    free less than LITTLE_FREE are left out, unless `every`.
    """
    left = plan(spec, observed, token)
    if isinstance(left, Refusal):
        return left
    if not all(isinstance(step, StartMember) for step in left.steps):
        return refuse_pending(spec, left)
    stopped = [step.host for step in left.steps if isinstance(step, StartMember)]
    steps = _steps(observed, names or (*members_due(spec, observed, over), *stopped), stopped, every)
    reasons = refuse_first_disruptive(left.steps, spec, observed) or (
        () if stopped else _reasons(spec, observed, steps)
    )
    if reasons:
        return Refusal(spec.name, reasons, left.notes)
    whole = with_quorum_effects([*left.steps, *steps], observed)
    notes = (_ONE_VOTER if voter_count(observed) == 1 else _NOTE,) if steps else ()
    return replace(left, steps=tuple(whole), notes=(*left.notes, *notes))


def _steps(
    observed: Observed, names: Collection[str], stopped: Collection[str], every: bool
) -> list[DefragmentOffline]:
    """Return the members with a known size in their order, after those that start first."""
    members = healthy(observed)
    due = [name for name in names if name in members and (every or reclaimable(members[name]) >= LITTLE_FREE)]
    return [
        *(offline_step(name) for name in stopped if name in names),
        *(offline_step(name, members[name]) for name in defrag_order(observed, due)),
    ]


def _reasons(spec: Spec, observed: Observed, steps: Collection[DefragmentOffline]) -> tuple[Refused, ...]:
    return refuse_any_defrag(spec, observed) or tuple(
        reason
        for step in steps
        for reason in (
            *refuse_step_of_waiting(step, observed),
            *refuse_restart(step.host, observed),
            *reasons_of_member(step.host, observed),
        )
    )
