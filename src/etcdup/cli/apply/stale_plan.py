"""Whether a plan that was shown earlier is still what would be done, and what has moved if it is not."""

from collections.abc import Iterator

from etcdup.cli.views.step_texts import hosts_of, step_text
from etcdup.core.plan.plan import Plan, Refused
from etcdup.core.plan.step import Step

# Of many differences the first few say enough.
_MAX_DIFFERENCES = 4


def refuse_stale_plan(saved: Plan, now: Plan) -> Refused | None:
    """None where the plans agree in every word that an operator has read."""
    if saved.steps == now.steps:
        return None
    hint = "`etcdup plan --out FILE` makes a new one; read it before you apply it"
    differences = tuple(_differences(saved, now))
    more = f"; and {len(differences) - _MAX_DIFFERENCES} more" if len(differences) > _MAX_DIFFERENCES else ""
    return Refused(
        f"the world has moved since this plan was made: {'; '.join(differences[:_MAX_DIFFERENCES])}{more}",
        hint=hint,
    )


def _differences(saved: Plan, now: Plan) -> Iterator[str]:
    if now.is_empty:
        yield "now nothing is to be done"
        return
    before = {step.identity: step for step in saved.steps}
    after = {step.identity: step for step in now.steps}
    yield from (
        f"{_step_name(step)} is new ({step.reason})" for each, step in after.items() if each not in before
    )
    yield from (f"{_step_name(step)} is gone" for each, step in before.items() if each not in after)
    for each in before.keys() & after.keys():
        if before[each] != after[each]:
            yield f"{_step_name(after[each])} {_change_text(before[each], after[each])}"
    if set(before) == set(after) and list(before) != list(after):
        first = next(new for old, new in zip(saved.steps, now.steps, strict=True) if old != new)
        yield f"the steps have another order, in which {_step_name(first)} comes sooner"


def _change_text(before: Step, after: Step) -> str:
    if before.reason != after.reason:
        return f"has another reason ({after.reason})"
    if before.quorum != after.quorum:
        return f"would do something else to the quorum ({after.quorum})"
    return "would do something else"


def _step_name(step: Step) -> str:
    return f"`{step_text(step)}`" + "".join(f" on {name}" for name in hosts_of(step)[:1])
