"""The plan (steps in order, with notes) or the refusal (all reasons against a plan), and the JSON form of a plan."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from etcdup.core.plan.step import FileChange, Step


@dataclass(frozen=True)
class Plan:
    """The steps that apply would run, in order. `notes` are facts for the operator that no step can change.

    `unknown` are the hosts that could not be observed: whether there is something to do on them is not known.
    `unsolved` are the codes of faults that the steps do not fix.
    """

    cluster: str
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    token: str = ""
    unknown: tuple[str, ...] = ()
    unsolved: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.steps


@dataclass(frozen=True)
class Refused:
    """A reason against a step or against the whole plan. `message` says what and why, `hint` what to do."""

    message: str
    hint: str = ""
    host: str = ""
    rules: tuple[int, ...] = ()


def fold_hosts(reasons: Iterable[Refused]) -> tuple[Refused, ...]:
    """Return each reason once: reasons that differ only in the host at their start become one, with all hosts."""
    folded: dict[tuple[str, str, tuple[int, ...]], list[Refused]] = {}
    for each in dict.fromkeys(reasons):
        rest = each.message.removeprefix(each.host) if each.host else each.message
        is_alike = rest != each.message and each.host not in rest and each.host not in each.hint
        folded.setdefault((rest if is_alike else each.message, each.hint, each.rules), []).append(each)
    return tuple(
        alike[0] if len(alike) == 1 else _of_all(rest, alike) for (rest, _, _), alike in folded.items()
    )


def _of_all(rest: str, alike: Sequence[Refused]) -> Refused:
    names = ", ".join(each.host for each in alike)
    message = f"{names}{rest}" if rest.startswith(":") else f"each of {names}{rest}"
    return replace(alike[0], message=message, host="")


@dataclass(frozen=True)
class Refusal:
    """All reasons against a plan. The planner returns it instead of a plan, and etcdup changes nothing."""

    cluster: str
    reasons: tuple[Refused, ...]
    notes: tuple[str, ...] = field(default=())


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON types. `plan_from_json` converts them back to an equal plan."""
    return {
        "format": 1,
        "cluster": plan.cluster,
        "token": plan.token,
        "notes": list(plan.notes),
        "unknown": list(plan.unknown),
        "unsolved": list(plan.unsolved),
        "steps": [{"step": step.kind, **asdict(step), "if_cut": step.if_cut} for step in plan.steps],
    }


def plan_from_json(data: dict[str, Any]) -> Plan:
    """Return the plan in the data. Raise ValueError if this version of etcdup did not write the data."""
    try:
        if data["format"] != 1:
            raise ValueError(f"this version of etcdup cannot read plan format {data['format']}")
        steps = tuple(_step_from_json(item) for item in data["steps"])
        left = (tuple(data.get(key, ())) for key in ("unknown", "unsolved"))
        return Plan(data["cluster"], steps, tuple(data["notes"]), data["token"], *left)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a field is missing or wrong: {error}") from error


def _step_from_json(item: dict[str, Any]) -> Step:
    # Only a saved plan needs all kinds of steps. To create 46 classes takes 50 ms.
    from etcdup.core.plan.step_registry import STEPS

    kind = STEPS[item["step"]]
    known = {field.name for field in fields(kind)}
    values = {name: _frozen(name, value) for name, value in item.items() if name in known}
    return kind(**values)


def _frozen(name: str, value: Any) -> Any:
    if name == "changes":
        return tuple(FileChange(**change) for change in value)
    return tuple(value) if isinstance(value, list) else value
