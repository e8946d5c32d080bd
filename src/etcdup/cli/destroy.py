"""`etcdup destroy`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.failure import Interrupted
from etcdup.cli.progress import Progress, progress_of
from etcdup.cli.render import render_plan
from etcdup.cli.session import Session
from etcdup.core.observed import ASIDE, Observed
from etcdup.core.retire import kept_at, plan_destroy
from etcdup.core.steps import Plan, Refusal, RetireMember
from etcdup.errors import EXIT_DONE, EtcdupError, PartlyApplied, RefusedError, UsageError
from etcdup.ops.apply import Planner, raise_refusal, retire
from etcdup.ops.journal import Journal
from etcdup.ops.lock import holder, locked
from etcdup.ops.world import World


def destroy_cluster(file: Path, name: str | None) -> int:
    """`name` is the cluster's, given instead of being asked for it."""
    session = Session.begin(file)
    if name not in (None, session.spec.name):
        raise RefusedError(f"{file} is the file of cluster {session.spec.name}, not of {name}")
    work = Destroying(session, sure=name is not None)
    session.run(work.run(), work.how_far)
    return EXIT_DONE


class Destroying:
    """One run of destroy; knows how far it has come when it is interrupted."""

    def __init__(self, session: Session, *, sure: bool) -> None:
        self._session = session
        self._terminal = session.terminal
        self._sure = sure
        self._progress: Progress | None = None

    def how_far(self) -> str:
        progress = self._progress
        if progress is None:
            return "interrupted; nothing was changed"
        done = f"{progress.done} of {progress.total} members are retired"
        return f"interrupted; {done}; run `etcdup destroy` again: it goes on from here"

    async def run(self) -> None:
        suffix = f"{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_destroy(self._session.spec, observed, suffix)

        async with self._session.world() as world:
            observed = await self._session.observed(world)
            plan = planner(observed)
            if isinstance(plan, Refusal):
                raise_refusal(plan)
            self._terminal.say(render_plan(plan, self._terminal.err, self._terminal.width))
            if not plan.is_empty:
                await self._ask()
                await self._retire(world, plan, planner)
                self._tell_where(plan, observed)
            self._tell_of_unreachable(plan, observed)

    async def _ask(self) -> None:
        name = self._session.spec.name
        if self._sure:
            return
        if not self._terminal.can_ask:
            hint = f"`--yes-destroy {name}` does it without asking"
            raise UsageError("there is nobody to ask whether this cluster shall be destroyed", hint=hint)
        if await self._terminal.answer(f"Type the cluster's name to stop it for good ({name}): ") != name:
            raise Interrupted("that is not its name; nothing was changed")

    async def _retire(self, world: World, plan: Plan, planner: Planner) -> None:
        session = self._session
        names = [host.name for host in session.spec.hosts]
        async with locked(session.spec, world.hosts, holder("destroy")):
            with (
                progress_of(self._terminal, plan, names) as self._progress,
                Journal.beside(session.folder, plan.cluster) as journal,
            ):
                await retire(world, plan, planner, self._progress, journal)

    def _tell_where(self, plan: Plan, observed: Observed) -> None:
        self._terminal.say("Nothing was deleted. What there was is now in:")
        for step in plan.steps:
            assert isinstance(step, RetireMember)
            seen = observed.reachable()[step.host]
            for path in kept_at(self._session.spec, step, seen):
                self._terminal.say(f"  {step.host}  {path}")
        if self._session.spec.tls.mode == "managed":
            self._terminal.say(f"The certificates and the CA stay in {self._session.spec.tls.dir}.")

    def _tell_of_unreachable(self, plan: Plan, observed: Observed) -> None:
        gone = list(observed.unreachable().values())
        if not gone:
            return
        error = EtcdupError if plan.is_empty else PartlyApplied
        names = ", ".join(each.host for each in gone)
        raise error(
            f"{names} could not be reached and may still run",
            detail="\n".join(f"{each.host}: {each.why}" for each in gone),
            hint="run `etcdup destroy` again when SSH works there",
        )
