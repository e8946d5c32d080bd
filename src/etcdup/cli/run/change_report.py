"""The `--json` of a change: its plan, the steps that were done, and the outcome."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.progress import Progress
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.health_view import health_json
from etcdup.cli.views.plan_view import refusal_json
from etcdup.cli.views.step_texts import hosts_of
from etcdup.cli.views.text import json_text
from etcdup.core.plan.plan import Plan, Refusal, plan_to_json
from etcdup.core.plan.step import Step
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EtcdupError, PartlyApplied, RefusedError
from etcdup.ops.world.health import Health

_OUTCOMES: tuple[tuple[type[BaseException], str], ...] = (
    (RefusedError, "refused"),
    (PartlyApplied, "partly applied"),
    (Interrupted, "interrupted"),
    (BaseException, "failed"),
)


class ChangeReport:
    """Facts that are collected during the change. `pending`: the plan is not confirmed, and nothing was done."""

    def __init__(self, cluster: str, verb: str) -> None:
        self.cluster = cluster
        self.verb = verb
        self.plan: Plan | None = None
        self.pending = False
        self.health: tuple[Health, ...] = ()
        # The fields that only this verb has.
        self.more: dict[str, Any] = {}
        self._done: list[Step] = []
        self._error: BaseException | None = None

    @contextmanager
    def print_at_exit(self, terminal: Terminal) -> Iterator[None]:
        """Print the report when the block ends. An error is then raised further, for stderr and the exit code."""
        try:
            yield
        except BaseException as error:
            self._error = error
            raise
        finally:
            terminal.print_data(json_text(self.facts()))

    @property
    def exit_code(self) -> int:
        return EXIT_CHANGES if self.pending else EXIT_DONE

    def record_steps_of(self, progress: Progress) -> Progress:
        return _RecordingProgress(progress, self._done)

    def facts(self) -> dict[str, Any]:
        return {
            "format": 1,
            "cluster": self.cluster,
            "verb": self.verb,
            "outcome": self._outcome(),
            "plan": plan_to_json(self.plan) if self.plan else None,
            "done": [{"step": step.kind, "hosts": list(hosts_of(step))} for step in self._done],
            "health": health_json(self.health) if self.health else None,
            "error": _error_json(self._error) if self._error else None,
            **self.more,
        }

    def _outcome(self) -> str:
        if self._error is not None:
            return next(words for kind, words in _OUTCOMES if isinstance(self._error, kind))
        if self.pending:
            return "pending"
        return "nothing to do" if self.plan is not None and self.plan.is_empty else "done"


def _error_json(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, EtcdupError):
        return {"message": str(error) or type(error).__name__, "detail": "", "hint": ""}
    facts = {"message": error.message, "detail": error.detail, "hint": error.hint}
    refusal = error.refusal if isinstance(error, RefusedError) else None
    return facts | ({"refused": refusal_json(refusal)["refused"]} if isinstance(refusal, Refusal) else {})


class _RecordingProgress:
    """A Progress that also collects the steps that were done."""

    def __init__(self, progress: Progress, done: list[Step]) -> None:
        self._progress = progress
        self._steps = done
        self.total = progress.total

    @property
    def done(self) -> int:
        return self._progress.done

    def step(self, step: Step, state: str) -> None:
        self._progress.step(step, state)
        if state == "done":
            self._steps.append(step)

    def doing(self, host: str, what: str) -> None:
        self._progress.doing(host, what)
