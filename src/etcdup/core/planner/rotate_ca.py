"""The plan of one run of `certs rotate-ca`: a turn of the CA, and what apply makes of it."""

from dataclasses import replace

from etcdup.core.certs.ca_rotation import REASONS, Stage, after, dropping, kept, may_rotate, reached
from etcdup.core.members.quorum_forecast import with_quorum
from etcdup.core.observed.model import Observed, PkiSeen
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.steps import RotateAuthority
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec


def next_stage(spec: Spec, observed: Observed, token: str) -> Stage:
    """What this run is for, settled on its first look: the phase that is not whole yet, or else the one after it."""
    now = reached(observed.pki)
    if now is None:
        return "drop" if dropping(spec, observed) else "trust"
    left = plan(spec, observed, token)
    if isinstance(left, Refusal) or left.steps:
        return now
    return "sign" if now == "trust" else "drop"


def plan_rotation(spec: Spec, observed: Observed, token: str, stage: Stage) -> Plan | Refusal:
    """What is left of this phase. Once its turn is done, that is what apply would do as well."""
    left = plan(spec, observed, token)
    if stage == "keep" and not is_turned(stage, observed.pki):
        return _plan_keeping(spec, observed, token)
    if isinstance(left, Refusal) or is_turned(stage, observed.pki):
        return left
    if reasons := may_rotate(stage, spec, observed):
        return Refusal(spec.name, reasons, left.notes)
    if left.steps:
        hint = "`etcdup apply` does it; the CA is changed over a cluster that is as cluster.yaml wants it"
        return Refusal(
            spec.name, (Refused("something else is left to be done first", hint=hint),), left.notes
        )
    follows = plan(spec, replace(observed, pki=after(stage, observed.pki)), token)
    if isinstance(follows, Refusal):
        return follows
    turn = RotateAuthority(
        stage=stage, reason=REASONS[stage], rules=(14, 15) if stage != "sign" else (12, 15, 16)
    )
    return Plan(spec.name, (*with_quorum([turn], observed), *follows.steps), left.notes, follows.token)


def _plan_keeping(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """Whatever stands against going on is no reason against going back."""
    if reasons := may_rotate("keep", spec, observed):
        return Refusal(spec.name, reasons)
    follows = plan(spec, replace(observed, pki=kept(spec, observed)), token)
    if isinstance(follows, Refusal):
        return follows
    turn = RotateAuthority(stage="keep", reason=REASONS["keep"], rules=(14, 15))
    return replace(follows, steps=(*with_quorum([turn], observed), *follows.steps))


def is_turned(stage: Stage, pki: PkiSeen) -> bool:
    """Whether the PKI has made this turn already. `drop` ends where `trust` began, but for the CA files of before."""
    now = reached(pki)
    if stage == "trust":
        return now is not None
    if stage in ("sign", "keep"):
        return now == "sign"
    return now is None and bool(pki.past)
