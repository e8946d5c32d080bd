"""The plan of one run of `certs rotate-ca`: a turn of the CA, and what apply makes of it."""

from dataclasses import replace

from etcdup.core.certs.ca_rotation import (
    STAGE_REASONS,
    RotationStage,
    hosts_dropping_old_ca,
    pki_after_stage,
    pki_with_old_ca,
    refuse_rotate_ca,
    rotation_stage,
)
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.observed.model import Observed, PkiSeen
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.plan.steps import RotateAuthority
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec


def next_stage(spec: Spec, observed: Observed, token: str) -> RotationStage:
    """What this run is for, settled on its first look: the phase that is not whole yet, or else the one after it."""
    now = rotation_stage(observed.pki)
    if now is None:
        return "drop" if hosts_dropping_old_ca(spec, observed) else "trust"
    left = plan(spec, observed, token)
    if isinstance(left, Refusal) or left.steps:
        return now
    return "sign" if now == "trust" else "drop"


def plan_ca_rotation(spec: Spec, observed: Observed, token: str, stage: RotationStage) -> Plan | Refusal:
    """What is left of this phase. Once its turn is done, that is what apply would do as well."""
    left = plan(spec, observed, token)
    if stage == "keep" and not is_stage_done(stage, observed.pki):
        return _plan_keep_old(spec, observed, token)
    if isinstance(left, Refusal) or is_stage_done(stage, observed.pki):
        return left
    if reasons := refuse_rotate_ca(stage, spec, observed):
        return Refusal(spec.name, reasons, left.notes)
    if left.steps:
        hint = "`etcdup apply` does it; the CA is changed over a cluster that is as cluster.yaml wants it"
        return Refusal(
            spec.name, (Refused("something else is left to be done first", hint=hint),), left.notes
        )
    follows = plan(spec, replace(observed, pki=pki_after_stage(stage, observed.pki)), token)
    if isinstance(follows, Refusal):
        return follows
    turn = RotateAuthority(
        stage=stage, reason=STAGE_REASONS[stage], rules=(14, 15) if stage != "sign" else (12, 15, 16)
    )
    return Plan(
        spec.name, (*with_quorum_effects([turn], observed), *follows.steps), left.notes, follows.token
    )


def _plan_keep_old(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """Whatever stands against going on is no reason against going back."""
    if reasons := refuse_rotate_ca("keep", spec, observed):
        return Refusal(spec.name, reasons)
    follows = plan(spec, replace(observed, pki=pki_with_old_ca(spec, observed)), token)
    if isinstance(follows, Refusal):
        return follows
    turn = RotateAuthority(stage="keep", reason=STAGE_REASONS["keep"], rules=(14, 15))
    return replace(follows, steps=(*with_quorum_effects([turn], observed), *follows.steps))


def is_stage_done(stage: RotationStage, pki: PkiSeen) -> bool:
    """Whether the PKI has made this turn already. `drop` ends where `trust` began, but for the CA files of before."""
    now = rotation_stage(pki)
    if stage == "trust":
        return now is not None
    if stage in ("sign", "keep"):
        return now == "sign"
    return now is None and bool(pki.past)
