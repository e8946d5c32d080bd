"""The plan of one run of `certs rotate-ca`: one phase of the rotation in the PKI, and what apply does on the hosts."""

from dataclasses import replace

from etcdup.core.certs.ca_rotation import (
    STAGE_REASONS,
    RotationStage,
    is_dropping,
    pki_after_stage,
    pki_with_old_ca,
    refuse_rotate_ca,
    rotation_stage,
)
from etcdup.core.members.limits import refuse_without_access
from etcdup.core.members.quorum_forecast import with_quorum_effects
from etcdup.core.observed.model import Observed
from etcdup.core.observed.pki import PkiSeen
from etcdup.core.plan.certificate_steps import RotateAuthority
from etcdup.core.plan.plan import Plan, Refusal, Refused
from etcdup.core.planner.planner import plan
from etcdup.core.spec.model import Spec


def next_stage(spec: Spec, observed: Observed, token: str) -> RotationStage:
    """Return the phase of this run: the phase that is not complete yet, otherwise the next one.

    Call it on the first observation of a run.
    """
    now = rotation_stage(observed.pki)
    if now is None:
        return "drop" if is_dropping(spec, observed) else "trust"
    left = plan(spec, observed, token)
    if isinstance(left, Refusal) or left.steps:
        return now
    return "sign" if now == "trust" else "drop"


def plan_ca_rotation(spec: Spec, observed: Observed, token: str, stage: RotationStage) -> Plan | Refusal:
    """Return the steps that are left of this phase, or the reasons against it.

    Once the PKI has made the change of this phase, these are the steps of an ordinary apply.
    """
    if denied := refuse_without_access(spec, observed):
        return Refusal(spec.name, denied)
    left = plan(spec, observed, token)
    if stage == "keep" and not is_stage_done(stage, observed.pki):
        return _plan_keep_old(spec, observed, token)
    if isinstance(left, Refusal) or is_stage_done(stage, observed.pki):
        return left
    if reasons := refuse_rotate_ca(stage, spec, observed):
        return Refusal(spec.name, reasons, left.notes)
    if left.steps:
        count = f"{len(left.steps)} step{'' if len(left.steps) == 1 else 's'}"
        reason = Refused(
            f"the cluster differs from cluster.yaml: apply has {count} left to do",
            hint="run `etcdup apply` first: a CA rotation needs a cluster that matches cluster.yaml",
        )
        return Refusal(spec.name, (reason,), left.notes)
    follows = plan(spec, replace(observed, pki=pki_after_stage(stage, observed.pki)), token)
    if isinstance(follows, Refusal):
        return follows
    step = RotateAuthority(
        stage=stage, reason=STAGE_REASONS[stage], rules=(14, 15) if stage != "sign" else (12, 15, 16)
    )
    return Plan(
        spec.name, (*with_quorum_effects([step], observed), *follows.steps), left.notes, follows.token
    )


def _plan_keep_old(spec: Spec, observed: Observed, token: str) -> Plan | Refusal:
    """Return the plan that trusts the old CA again. Reasons against the next phase are no reasons against this."""
    if reasons := refuse_rotate_ca("keep", spec, observed):
        return Refusal(spec.name, reasons)
    follows = plan(spec, replace(observed, pki=pki_with_old_ca(spec, observed)), token)
    if isinstance(follows, Refusal):
        return follows
    step = RotateAuthority(stage="keep", reason=STAGE_REASONS["keep"], rules=(14, 15))
    return replace(follows, steps=(*with_quorum_effects([step], observed), *follows.steps))


def is_stage_done(stage: RotationStage, pki: PkiSeen) -> bool:
    """Return whether the PKI has made the change of this phase.

    After `drop` the PKI has one CA, as before `trust`. The difference is that it keeps the previous CA files.
    """
    now = rotation_stage(pki)
    if stage == "trust":
        return now is not None
    if stage in ("sign", "keep"):
        return now == "sign"
    return now is None and bool(pki.past)
