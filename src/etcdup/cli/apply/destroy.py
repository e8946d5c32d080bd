"""`etcdup destroy`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.change import ChangeRun
from etcdup.cli.run.progress import Progress
from etcdup.cli.run.session import Session
from etcdup.core.observed.model import Observed, aside_suffix
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.steps import RetireMember
from etcdup.core.planner.destroy import archived_paths, plan_destroy
from etcdup.errors import EtcdupError, PartlyApplied
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.refusal import raise_refusal


def destroy_cluster(file: Path, name: str | None) -> int:
    """`name` is the cluster's, given instead of being asked for it."""
    session = Session.begin(file, named=name)
    return DestroyRun(session, sure=name is not None).run_to_exit()


class DestroyRun(ChangeRun):
    """One run of destroy."""

    def __init__(self, session: Session, *, sure: bool) -> None:
        super().__init__(session, "destroy")
        self._sure = sure

    async def run(self) -> None:
        suffix = aside_suffix(datetime.now(UTC))

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_destroy(self.session.spec, observed, suffix)

        async with self.session.world() as world:
            observed = await self.session.observe(world)
            plan = planner(observed)
            if isinstance(plan, Refusal):
                raise_refusal(plan)
            self.show(plan)
            if not plan.is_empty:
                if not self._sure:
                    await self.confirm_by_name("destroy", "stop it for good", "destroyed")

                async def act(progress: Progress, journal: Journal) -> Observed:
                    return await apply_without_proof(world, plan, planner, progress, journal)

                await self.run_locked(world, plan, observed, act)
                self._report_archives(plan, observed)
            self._raise_for_unreachable(plan, observed)

    def _report_archives(self, plan: Plan, observed: Observed) -> None:
        self.terminal.say("Nothing was deleted. What there was is now in:")
        for step in plan.steps:
            assert isinstance(step, RetireMember)
            for path in archived_paths(self.session.spec, step, observed):
                self.terminal.say(f"  {step.host}  {path}")
        if self.session.spec.tls.mode == "managed":
            self.terminal.say(f"The certificates and the CA stay in {self.session.spec.tls.dir}.")

    def _raise_for_unreachable(self, plan: Plan, observed: Observed) -> None:
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
