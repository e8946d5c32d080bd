"""The runs in the journal of a cluster: who did what, when, and with which result."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from etcdup.core.spec.json_object import json_object

_CUT = "no end"


@dataclass(frozen=True)
class Run:
    """One run of a verb that changed the cluster. `result` is `done`, `failed`, `interrupted` or `no end`.

    `no end`: the run continues, or it was killed. `steps` are the steps that it began, with their hosts.
    """

    at: str
    operator: str
    verb: str
    result: str = _CUT
    ended_at: str = ""
    error: str = ""
    steps: tuple[tuple[str, str], ...] = field(default=())


def runs_of(lines: Iterable[str]) -> list[Run]:
    """Return the runs, the oldest first. Lines that are not of the journal are left out.

    Only one run holds the lock of a cluster, so the lines after its first line belong to it.
    """
    runs: list[Run] = []
    for facts in filter(None, map(json_object, lines)):
        event = facts.get("event")
        if event == "run":
            runs.append(Run(_text(facts, "at"), _text(facts, "operator"), _text(facts, "verb")))
        elif runs and event == "end":
            runs[-1] = _ended(runs[-1], facts)
        elif runs and not runs[-1].ended_at and (step := _step(facts)):
            runs[-1] = replace(runs[-1], steps=tuple(dict.fromkeys((*runs[-1].steps, step))))
    return runs


def _text(facts: dict[str, object], key: str) -> str:
    value = facts.get(key)
    return value if isinstance(value, str) else ""


def _ended(run: Run, facts: dict[str, object]) -> Run:
    result, error = _text(facts, "result"), _text(facts, "error")
    return replace(run, result=result, ended_at=_text(facts, "at"), error=error)


def _step(facts: dict[str, object]) -> tuple[str, str] | None:
    step = _text(facts, "step")
    return (step, _text(facts, "host") or _text(facts, "member")) if step else None
