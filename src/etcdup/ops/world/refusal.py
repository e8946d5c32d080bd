"""How a plan is made from an observation, and how a refusal is raised."""

from collections.abc import Callable
from typing import NoReturn

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import RefusedError

Planner = Callable[[Observed], Plan | Refusal]


def raise_refusal(refusal: Refusal) -> NoReturn:
    """Every reason of a refusal, as one error."""
    lines = [reason.message for reason in refusal.reasons]
    hints = dict.fromkeys(reason.hint for reason in refusal.reasons if reason.hint)
    message = (
        lines[0] if len(lines) == 1 else f"cluster {refusal.cluster}: {len(lines)} things stand against it"
    )
    error = RefusedError(message, detail="" if len(lines) == 1 else "\n".join(lines), hint="\n".join(hints))
    error.refusal = refusal
    raise error
