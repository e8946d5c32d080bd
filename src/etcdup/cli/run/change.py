"""What all verbs have in common that change a cluster: the question, the lock, the display, and how far it came."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from etcdup.cli.run.change_report import ChangeReport
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.progress import Progress, progress_of
from etcdup.cli.run.session import Session
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.plan_view import render_plan
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan
from etcdup.errors import EXIT_DONE, EtcdupError, PartlyApplied, UsageError
from etcdup.ops.world.health import Health
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.lock import cluster_lock, holder
from etcdup.ops.world.world import World

T = TypeVar("T")
ApplySteps = Callable[[Progress, Journal], Awaitable[T]]


class ChangeRun(ABC):
    """One run of such a verb. `verb` is what the operator types after `etcdup` to have the rest done."""

    def __init__(self, session: Session, verb: str, *, as_json: bool = False) -> None:
        self.session = session
        self.outcome = ChangeReport(session.spec.name, verb) if as_json else None
        self.terminal = session.terminal
        self.verb = verb
        self._progress: Progress | None = None

    def run_to_exit(self) -> int:
        if self.outcome is None:
            self.session.run(self.run(), self.progress_text)
            return EXIT_DONE
        with self.outcome.print_at_exit(self.terminal):
            self.session.run(self.run(), self.progress_text)
        return self.outcome.exit_code

    @property
    def done(self) -> int:
        """How many steps were done so far."""
        return self._progress.done if self._progress else 0

    @abstractmethod
    async def run(self) -> None:
        """Looks, shows, asks, does it, and tells what came of it."""

    def progress_text(self) -> str:
        """What an interrupted operator needs to know."""
        if self._progress is None:
            return "interrupted; nothing was changed"
        done = f"{self._progress.done} of {self._progress.total} steps are done"
        return f"interrupted; {done}; {self.resume_hint()}"

    def resume_hint(self) -> str:
        """How the rest is done, after an interruption or a failure."""
        return f"run `etcdup {self.verb}` again: it goes on from here"

    def show(self, plan: Plan) -> None:
        if self.outcome is not None:
            self.outcome.plan = plan
            return
        self.terminal.say(render_plan(plan, self.terminal.err, self.terminal.width))

    async def confirm(self, question: str) -> None:
        """Raises Interrupted unless a person says yes, UsageError where there is none."""
        if not self.terminal.can_ask:
            hint = "`--yes` does it without asking; `etcdup plan` shows it without doing it"
            raise UsageError("there is nobody to ask whether this shall be done", hint=hint)
        if not await self.terminal.confirm(question):
            raise Interrupted("nothing was changed")
        self.terminal.say()

    async def confirm_by_name(self, verb: str, what: str, done: str) -> None:
        """As `agree`, by the cluster's name: for what no yes that was typed by habit may do."""
        name = self.session.spec.name
        if not self.terminal.can_ask:
            hint = f"`--yes-{verb} {name}` does it without asking"
            raise UsageError(f"there is nobody to ask whether this cluster shall be {done}", hint=hint)
        if await self.terminal.ask(f"Type the cluster's name to {what} ({name}): ") != name:
            raise Interrupted("that is not its name; nothing was changed")

    def defer(self) -> bool:
        """Whether nobody is to be asked: `--json` is for programs, and leaves it at the plan."""
        if self.outcome is not None:
            self.outcome.pending = True
        return self.outcome is not None

    def report_health(self, results: tuple[Health, ...]) -> None:
        if self.outcome is not None:
            self.outcome.health = results
            return
        self.terminal.print_data(render_health(results, self.terminal.out))

    async def run_locked(self, world: World, plan: Plan, observed: Observed, act: ApplySteps[T]) -> T:
        """`act` under the cluster's lock and with the display. `observed` is what the plan was made from."""
        names = tuple(observed.hosts)
        async with cluster_lock(self.session.spec, world.hosts, holder(self.verb), observed.leaving):
            begun = self.prepare_locally()
            with (
                progress_of(self.terminal, plan, names) as shown,
                Journal.in_folder(self.session.folder, plan.cluster) as journal,
            ):
                self._progress = self.outcome.record_steps_of(shown) if self.outcome else shown
                try:
                    return await act(self._progress, journal)
                except EtcdupError as error:
                    if begun or isinstance(error, PartlyApplied):
                        error.hint = "\n".join(filter(None, (error.hint, self.resume_hint())))
                    raise

    def prepare_locally(self) -> bool:
        """Does what is to be done on this machine once the lock is held, and says whether that changed anything."""
        return False
