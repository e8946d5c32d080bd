"""The plan: steps in order, with notes, or every reason why there can be none; to JSON and back."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from etcdup.core.plan.step import FileChange, Step
from etcdup.core.plan.step_registry import STEPS


@dataclass(frozen=True)
class Plan:
    """What apply would do, in order. `notes` are facts that the operator should know but no step can change."""

    cluster: str
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    token: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.steps


@dataclass(frozen=True)
class Refused:
    """Why a step, or the whole plan, may not be done. `message` names what and why, `hint` what to do."""

    message: str
    hint: str = ""
    host: str = ""
    rules: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """The planner's other answer: every reason at once, and nothing is touched."""

    cluster: str
    reasons: tuple[Refused, ...]
    notes: tuple[str, ...] = field(default=())


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON's own types. `plan_from_json` reads it back to an equal plan."""
    return {
        "format": 1,
        "cluster": plan.cluster,
        "token": plan.token,
        "notes": list(plan.notes),
        "steps": [{"step": step.kind, **asdict(step), "if_cut": step.if_cut} for step in plan.steps],
    }


def plan_from_json(data: dict[str, Any]) -> Plan:
    """Raises ValueError where the data is not a plan that this etcdup wrote."""
    try:
        if data["format"] != 1:
            raise ValueError(f"format {data['format']} is not known to this etcdup")
        steps = tuple(_step_from_json(item) for item in data["steps"])
        return Plan(data["cluster"], steps, tuple(data["notes"]), data["token"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a saved plan: {error}") from error


def _step_from_json(item: dict[str, Any]) -> Step:
    kind = STEPS[item["step"]]
    known = {field.name for field in fields(kind)}
    values = {name: _frozen(name, value) for name, value in item.items() if name in known}
    return kind(**values)


def _frozen(name: str, value: Any) -> Any:
    if name == "changes":
        return tuple(FileChange(**change) for change in value)
    return tuple(value) if isinstance(value, list) else value
