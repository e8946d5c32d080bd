"""A change of a cluster: the plan is shown and confirmed, then carried out under the cluster's lock."""

import shlex
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from etcdup.cli.run.change_report import ChangeReport
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.no_return import confirm_no_return
from etcdup.cli.run.progress import Progress, progress_of
from etcdup.cli.run.session import Session
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.plan_view import render_plan
from etcdup.cli.views.step_texts import count_text
from etcdup.core.adopt.verbs import refuse_verb
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.spec.units import show_duration
from etcdup.errors import EXIT_DONE, EtcdupError, PartlyApplied, UsageError
from etcdup.ops.apply.apply import apply, apply_without_proof
from etcdup.ops.world.health import Health
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.lock import cluster_lock, holder, operator
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


class Confirm(Protocol):
    """A question before a change."""

    async def ask(self, terminal: Terminal) -> None:
        """Raise Interrupted if the operator does not agree, UsageError if no operator can answer."""
        ...


@dataclass(frozen=True)
class YesNo:
    """A question that is answered with yes or no. `option` answers it in advance."""

    question: str
    option: str = "--yes"

    async def ask(self, terminal: Terminal) -> None:
        if not terminal.can_confirm:
            hint = f"pass `{self.option}` to skip the confirmation"
            raise UsageError(f"confirmation required, but {terminal.why_no_question}", hint=hint)
        if not await terminal.confirm(self.question):
            raise Interrupted("nothing was changed")
        terminal.say()


@dataclass(frozen=True)
class ClusterName:
    """The operator types the cluster's name, because a yes is typed by habit too easily.

    `effect` has sentences about what the change does. `otherwise` is what is said if the answer is another one.
    """

    cluster: str
    verb: str
    effect: str
    otherwise: str = "nothing was changed"

    async def ask(self, terminal: Terminal) -> None:
        if not terminal.can_confirm:
            hint = f"pass `--yes-{self.verb} {self.cluster}` to skip the confirmation"
            raise UsageError(f"confirmation required, but {terminal.why_no_question}", hint=hint)
        terminal.say(self.effect)
        if await terminal.ask(f"Type the name of the cluster to confirm ({self.cluster}): ") != self.cluster:
            raise Interrupted(f"this is not the name of the cluster; {self.otherwise}")


@dataclass(frozen=True)
class Change:
    """How a verb changes a cluster. `confirm` is None if the operator confirmed with an option.

    `prove`: the change ends with a proof of health. `show` and `preface` are for the display of the plan. `prepare`
    runs on this machine after the lock is taken, and returns whether it changed anything. `after` returns lines that
    the operator has to read once the plan is carried out.
    """

    planner: Planner
    confirm: Confirm | None
    prove: bool = True
    show: bool = True
    preface: str = ""
    prepare: Callable[[], bool] = lambda: False
    after: Callable[[Plan], Iterable[str]] = lambda _: ()


class ChangeRun:
    """One run of a verb that changes a cluster: what it reports, and how far it is.

    `verb` is what the operator types after `etcdup` to resume. `resume` overrides the hint for that: it gets the number
    of steps that are done.
    """

    def __init__(
        self,
        session: Session,
        verb: str,
        *,
        as_json: bool = False,
        resume: Callable[[int], str] | None = None,
    ) -> None:
        self.session = session
        self.terminal = session.terminal
        self.verb = verb
        self.report = ChangeReport(session.spec.name, verb) if as_json else None
        self.progress: Progress | None = None
        self._resume = resume

    def run_to_exit(self, work: Coroutine[Any, Any, None]) -> int:
        """Run the verb's work and return the exit code."""
        if self.report is None:
            self.session.run(work, self.interrupted_text)
            return EXIT_DONE
        with self.report.print_at_exit(self.terminal):
            self.session.run(work, self.interrupted_text)
        return self.report.exit_code

    @property
    def done(self) -> int:
        """The number of steps that are done."""
        return self.progress.done if self.progress else 0

    def interrupted_text(self) -> str:
        if self.progress is None:
            return "interrupted; nothing was changed"
        done = f"{self.progress.done} of {self.progress.total} steps are done"
        return f"interrupted; {done}; {self.resume_hint()}"

    def resume_hint(self) -> str:
        """Return how to do the rest after an interruption or a failure."""
        return self._resume(self.done) if self._resume else f"run `etcdup {self.verb}` again to resume"

    def show_plan(self, plan: Plan, preface: str = "") -> None:
        if self.report is not None:
            self.report.plan = plan
        if preface:
            self.terminal.say(preface)
        if self.report is None:
            self.terminal.say(render_plan(plan, self.terminal.err, self.terminal.width))

    def report_health(self, results: tuple[Health, ...]) -> None:
        if self.report is not None:
            self.report.health = results
            return
        self.terminal.print_data(self.terminal.with_file(render_health(results, self.terminal.out)))


def typed_options(options: Mapping[str, object]) -> str:
    """Return options as the operator types them, for `ChangeRun.verb`. None and False are left out, True is a flag."""
    return "".join(
        f" --{name}" if value is True else f" --{name} {shlex.quote(str(value))}"
        for name, value in options.items()
        if value is not None and value is not False
    )


def require_take_over(run: ChangeRun, observed: Observed) -> None:
    """Raise RefusedError if the verb must wait until etcdup has taken the members over."""
    if waiting := refuse_verb(run.verb, observed):
        raise_refusal(Refusal(run.session.spec.name, waiting))


def make_plan(run: ChangeRun, planner: Planner, observed: Observed) -> Plan:
    """Return the plan. Raise RefusedError if there is none, or if the verb must wait for a take-over."""
    require_take_over(run, observed)
    plan = planner(observed)
    if isinstance(plan, Refusal):
        raise_refusal(plan)
    return plan


async def run_change(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed
) -> tuple[Health, ...] | None:
    """Show the plan, ask, take the lock, apply, prove. Return the proof of health, which is empty without `prove`.

    Return None if the operator still has to confirm: `--json` asks no question, so the run ends with the plan.
    `observed` is what the planner made the plan from.
    """
    if not await confirm_change(run, change, plan):
        return None
    return await apply_change(run, world, change, plan, observed)


async def confirm_change(run: ChangeRun, change: Change, plan: Plan) -> bool:
    """Show the plan and ask. Return False if the run ends with the plan."""
    if change.show:
        run.show_plan(plan, change.preface)
    if change.confirm is None:
        return True
    if run.report is not None:
        run.report.pending = True
        return False
    await change.confirm.ask(run.terminal)
    return True


async def apply_change(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed
) -> tuple[Health, ...]:
    """Carry out a plan that is confirmed, under the cluster's lock."""
    session, began = run.session, time.monotonic()
    async with cluster_lock(session.spec, world.hosts, holder(run.verb), observed.leaving) as world.lock:
        prepared = change.prepare()
        with (
            progress_of(run.terminal, plan, tuple(observed.hosts)) as shown,
            Journal.in_folder(session.folder, plan.cluster) as journal,
        ):
            run.progress = run.report.record_steps_of(shown) if run.report else shown
            try:
                with _recorded(journal, run.verb):
                    results = await _apply(run, world, change, plan, observed, journal)
            except EtcdupError as error:
                if error.resumes and (prepared or isinstance(error, PartlyApplied)):
                    error.hint = "\n".join(filter(None, (error.hint, run.resume_hint())))
                raise
    if change.prove:
        took = show_duration(time.monotonic() - began)
        run.terminal.say(f"{count_text(len(plan.steps), 'step')} done in {took}")
        run.terminal.say()
    for line in change.after(plan):
        run.terminal.say(line)
    return results


@contextmanager
def _recorded(journal: Journal, verb: str) -> Iterator[None]:
    """Record who began this run, and how it ended. A killed run has no end."""
    journal.record("run", {"operator": operator(), "verb": verb})
    result, why = "interrupted", ""
    try:
        yield
        result = "done"
    except EtcdupError as error:
        result, why = "failed", error.message
        raise
    finally:
        journal.record("end", {"result": result, **({"error": why} if why else {})})


async def _apply(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed, journal: Journal
) -> tuple[Health, ...]:
    assert run.progress is not None

    async def confirm(step: RestartMember) -> None:
        if change.confirm is not None:
            await confirm_no_return(run.terminal, plan, step, observed)

    if change.prove:
        return await apply(world, plan, change.planner, run.progress, journal, confirm=confirm)
    await apply_without_proof(world, plan, change.planner, run.progress, journal)
    return ()
