"""The type of a planner, and how a refusal becomes an error."""

from collections.abc import Callable
from typing import NoReturn

from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import RefusedError

Planner = Callable[[Observed], Plan | Refusal]


def raise_refusal(refusal: Refusal) -> NoReturn:
    """Raise one RefusedError with every reason of the refusal."""
    lines = [reason.message for reason in refusal.reasons]
    hints = dict.fromkeys(reason.hint for reason in refusal.reasons if reason.hint)
    message = lines[0] if len(lines) == 1 else f"cluster {refusal.cluster}: refused for {len(lines)} reasons"
    error = RefusedError(message, detail="" if len(lines) == 1 else "\n".join(lines), hint="\n".join(hints))
    error.refusal = refusal
    raise error
