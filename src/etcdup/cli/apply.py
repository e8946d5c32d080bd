"""`etcdup apply`."""

import time
from pathlib import Path

from etcdup.cli.cautions import caution, refuse_unusable_tls
from etcdup.cli.failure import Interrupted
from etcdup.cli.plan import read_plan
from etcdup.cli.progress import Progress, progress_of
from etcdup.cli.render import counted, render_health, render_plan
from etcdup.cli.session import Session
from etcdup.core.observed import Observed
from etcdup.core.steps import Plan, Refusal, Refused
from etcdup.core.units import show_duration
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.apply import Planner, apply, prove_whole, raise_refusal
from etcdup.ops.health import Health
from etcdup.ops.journal import Journal
from etcdup.ops.lock import holder, locked
from etcdup.ops.world import World


def apply_file(file: Path, *, saved: Path | None, yes: bool) -> int:
    """Shows the plan, asks, does it, and ends with the proof of health."""
    session = Session.begin(file)
    refuse_unusable_tls(session)
    return apply_session(session, saved=read_plan(saved, session.spec.name) if saved else None, yes=yes)


def apply_session(
    session: Session, *, saved: Plan | None = None, yes: bool = False, quiet: bool = False
) -> int:
    """`apply` for a file that was read already; `quiet`, it does not show the plan."""
    work = Applying(session, saved, yes, quiet)
    session.run(work.run(), work.how_far)
    return EXIT_DONE


class Applying:
    """One run of apply; knows how far it has come when it is interrupted."""

    def __init__(self, session: Session, saved: Plan | None, yes: bool, quiet: bool) -> None:
        self._session = session
        self._terminal = session.terminal
        self._saved = saved
        self._yes = yes
        self._quiet = quiet
        self._progress: Progress | None = None

    def how_far(self) -> str:
        """What an interrupted operator needs to know."""
        progress = self._progress
        if progress is None:
            return "interrupted; nothing was changed"
        done = f"{progress.done} of {progress.total} steps are done"
        return f"interrupted; {done}; run `etcdup apply` again: it goes on from here"

    async def run(self) -> None:
        session = self._session
        planner = session.planner(self._saved.token if self._saved else "")
        async with session.world() as world:
            observed = await session.observed(world, settled=True)
            plan = self._planned(planner, observed)
            caution(session, observed.binaries)
            if plan.is_empty:
                await self._nothing_to_do(world, plan, observed)
                return
            if not self._quiet:
                self._show(plan)
            await self._ask(plan)
            async with locked(session.spec, world.hosts, holder("apply")):
                results = await self._apply(world, plan, planner)
            self._terminal.data(render_health(results, self._terminal.out))

    def _planned(self, planner: Planner, observed: Observed) -> Plan:
        plan = planner(observed)
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        if self._saved is not None and plan.steps != self._saved.steps:
            raise_refusal(_moved(plan))
        return plan

    async def _nothing_to_do(self, world: World, plan: Plan, observed: Observed) -> None:
        """Nothing to do is said only of a cluster that is proved healthy."""
        for note in plan.notes:
            self._terminal.say(f"{self._terminal.err('yellow', 'note:')} {note}")
        async with self._terminal.patience("asking the members"):
            results = await prove_whole(world, observed)
        self._terminal.say("nothing to do")
        self._terminal.data(render_health(results, self._terminal.out))

    def _show(self, plan: Plan) -> None:
        self._terminal.say(render_plan(plan, self._terminal.err, self._terminal.width))

    async def _ask(self, plan: Plan) -> None:
        if self._yes:
            return
        if not self._terminal.can_ask:
            hint = "`--yes` does it without asking; `etcdup plan` shows it without doing it"
            raise UsageError("there is nobody to ask whether this shall be done", hint=hint)
        if not await self._terminal.confirm(f"Do this to cluster {plan.cluster}?"):
            raise Interrupted("nothing was changed")
        self._terminal.say()

    async def _apply(self, world: World, plan: Plan, planner: Planner) -> tuple[Health, ...]:
        began = time.monotonic()
        names = [host.name for host in self._session.spec.hosts]
        with (
            progress_of(self._terminal, plan, names) as self._progress,
            Journal.beside(self._session.folder, plan.cluster) as journal,
        ):
            results = await apply(world, plan, planner, self._progress, journal)
        took = show_duration(time.monotonic() - began)
        self._terminal.say(f"{counted(len(plan.steps), 'step')} done in {took}")
        self._terminal.say()
        return results


def _moved(plan: Plan) -> Refusal:
    hint = "`etcdup plan --out FILE` makes a new one; read it before you apply it"
    now = "nothing is to be done" if plan.is_empty else f"{len(plan.steps)} steps would be done"
    message = f"the world has moved since this plan was made: now {now}, and not those of the plan"
    return Refusal(plan.cluster, (Refused(message, hint=hint),))
