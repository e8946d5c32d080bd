"""`etcdup apply`."""

import time
from pathlib import Path

from etcdup.cli.apply.no_return import confirm_no_return
from etcdup.cli.apply.plan import read_plan
from etcdup.cli.apply.stale_plan import refuse_stale_plan
from etcdup.cli.apply.warnings import check_tls_files, print_warnings, restrict_keys
from etcdup.cli.run.change import ChangeRun
from etcdup.cli.run.progress import Progress
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.certs.renewal import replaces_leaves
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.plan.steps import RestartMember
from etcdup.core.spec.units import show_duration
from etcdup.ops.apply.apply import apply, finish
from etcdup.ops.world.health import Health
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.refusal import Planner, raise_refusal
from etcdup.ops.world.world import World


def apply_file(file: Path, *, saved: Path | None, yes: bool, as_json: bool = False) -> int:
    """Shows the plan, asks, does it, and ends with the proof of health."""
    session = Session.begin(file)
    check_tls_files(session)
    plan = read_plan(saved, session.spec.name) if saved else None
    return ApplyRun(session, "apply", saved=plan, yes=yes, as_json=as_json).run_to_exit()


def apply_session(session: Session, *, yes: bool = False, quiet: bool = False) -> int:
    """`apply` for a file that was read already; `quiet`, it does not show the plan."""
    return ApplyRun(session, "apply", yes=yes, quiet=quiet).run_to_exit()


class ApplyRun(ChangeRun):
    """One run of apply, and of what is an apply by another planner."""

    def __init__(
        self,
        session: Session,
        verb: str,
        *,
        saved: Plan | None = None,
        yes: bool,
        quiet: bool = False,
        as_json: bool = False,
    ) -> None:
        super().__init__(session, verb, as_json=as_json)
        self._saved = saved
        self._yes = yes
        self._quiet = quiet

    def planner(self, observed: Observed) -> Planner:  # noqa: ARG002
        """Decides for the whole run; `observed` is the first look."""
        return self.session.planner(self._saved.token if self._saved else "")

    async def run(self) -> None:
        session = self.session
        async with session.world() as world:
            observed = await session.observe(world)
            planner = self.planner(observed)
            observed = await session.resolve_binaries(world, observed)
            plan = self._make_plan(planner, observed)
            print_warnings(session, observed)
            if plan.is_empty:
                restrict_keys(session, world.pki)
                await self._report_nothing_to_do(world, plan, observed)
                return
            if not await self._confirm_plan(plan):
                return
            restrict_keys(session, world.pki)
            results = await self._apply(world, plan, observed, planner)
            await self._prove_served(world, plan)
            self.report_health(results)

    async def _confirm_plan(self, plan: Plan) -> bool:
        """Shows the plan and asks. False where it is left at that."""
        if not self._quiet:
            self.show(plan)
        if self._yes:
            return True
        if self.defer():
            return False
        await self.confirm(f"Do this to cluster {plan.cluster}?")
        return True

    async def _prove_served(self, world: World, plan: Plan) -> None:
        """New certificates are proved by new handshakes: health comes over connections that may be older (rule 17)."""
        if not replaces_leaves(plan):
            return
        from etcdup.cli.run.session import admin_client
        from etcdup.cli.views.certs_view import render_served
        from etcdup.ops.certs.proof import prove_served, raise_unproved

        async with self.terminal.wait_notice("making handshakes"):
            found = await prove_served(world, admin_client(self.session, world))
        if self.outcome is None:
            self.terminal.print_data(render_served(found, self.terminal.out))
        raise_unproved(found)

    def _make_plan(self, planner: Planner, observed: Observed) -> Plan:
        plan = planner(observed)
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        if self._saved is not None and (why := refuse_stale_plan(self._saved, plan)):
            raise_refusal(Refusal(plan.cluster, (why,)))
        return plan

    async def _report_nothing_to_do(self, world: World, plan: Plan, observed: Observed) -> None:
        """Nothing to do is said only of a cluster that is proved healthy."""
        if self.outcome is not None:
            self.outcome.plan = plan
        for note in plan.notes:
            self.terminal.say(f"{self.terminal.err('yellow', 'note:')} {note}")
        async with self.terminal.wait_notice("asking the members"):
            results = await finish(world, observed)
        self.terminal.say("nothing to do")
        self.report_health(results)

    async def _apply(
        self, world: World, plan: Plan, observed: Observed, planner: Planner
    ) -> tuple[Health, ...]:
        async def confirm(step: RestartMember) -> None:
            if not self._yes:
                await confirm_no_return(self.terminal, plan, step, observed)

        async def act(progress: Progress, journal: Journal) -> tuple[Health, ...]:
            return await apply(world, plan, planner, progress, journal, confirm=confirm)

        began = time.monotonic()
        results = await self.run_locked(world, plan, observed, act)
        took = show_duration(time.monotonic() - began)
        self.terminal.say(f"{count_text(len(plan.steps), 'step')} done in {took}")
        self.terminal.say()
        return results
