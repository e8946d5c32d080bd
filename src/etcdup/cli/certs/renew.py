"""`etcdup certs renew`."""

from pathlib import Path

from etcdup.cli.run.change import ChangeRun
from etcdup.cli.run.progress import Progress
from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.certs_json import renewal_json
from etcdup.cli.views.certs_view import render_served
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.json_text import json_text
from etcdup.cli.views.step_texts import count_text
from etcdup.core.certs.renewal import CertsToRenew, certs_to_renew, plan_renewal
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import EtcdupError
from etcdup.ops.apply.apply import apply_without_proof
from etcdup.ops.certs.proof import ServedCert, prove_served, raise_unproved, wait_until_recovered
from etcdup.ops.world.health import Health
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World


def renew_certificates(file: Path, *, days: int | None, yes: bool, as_json: bool) -> int:
    """Shows the plan, asks, does it, and proves by new handshakes that every port serves the new ones."""
    return RenewRun(Session.begin(file), days=days, yes=yes, as_json=as_json).run_to_exit()


class RenewRun(ChangeRun):
    """One run of `certs renew`. What a killed run left is done by the next, or by any apply."""

    def __init__(self, session: Session, *, days: int | None, yes: bool, as_json: bool) -> None:
        super().__init__(session, "certs renew")
        self._days = days
        self._yes = yes
        self._as_json = as_json
        self._renewed: CertsToRenew = {}

    async def run(self) -> None:
        async with self.session.world() as world:
            observed = await self.session.observe(world)
            chosen = certs_to_renew(self.session.spec, observed, self._days)
            plan = self._make_plan(observed, chosen)
            if plan.is_empty:
                self._print_notes(plan)
                self.terminal.say("no certificate is due")
            else:
                await self._renew(world, plan, observed, chosen)
        # Clients that were made before may hold a certificate of the operator's that has expired.
        async with self.session.world() as world:
            await self._prove(world)

    def _make_plan(self, observed: Observed, chosen: CertsToRenew) -> Plan:
        plan = plan_renewal(self.session.spec, observed, chosen)
        if isinstance(plan, Refusal):
            raise_refusal(plan)
        return plan

    def _print_notes(self, plan: Plan) -> None:
        for note in plan.notes:
            self.terminal.say(f"{self.terminal.err('yellow', 'note:')} {note}")

    async def _renew(self, world: World, plan: Plan, observed: Observed, chosen: CertsToRenew) -> None:
        self.show(plan)
        if not self._yes:
            await self.confirm(f"Renew the certificates of cluster {plan.cluster}?")

        def planner(fresh: Observed) -> Plan | Refusal:
            return plan_renewal(self.session.spec, fresh, chosen)

        async def act(progress: Progress, journal: Journal) -> Observed:
            return await apply_without_proof(world, plan, planner, progress, journal)

        await self.run_locked(world, plan, observed, act)
        self._renewed = chosen
        self.terminal.say(f"{count_text(len(plan.steps), 'step')} done")
        self.terminal.say()

    async def _prove(self, world: World) -> None:
        """Every port is shown, also where members do not come back to health."""
        observed = await self.session.observe(world)
        results: tuple[Health, ...] = ()
        sick: EtcdupError | None = None
        async with self.terminal.wait_notice("waiting until the members are healthy"):
            try:
                results = await wait_until_recovered(world, observed)
            except EtcdupError as error:
                sick = error
            found = await prove_served(world, admin_client(self.session, world))
        self._show_proof(found, results)
        raise_unproved(found)
        if sick is not None:
            raise sick

    def _show_proof(self, found: tuple[ServedCert, ...], results: tuple[Health, ...]) -> None:
        if self._as_json:
            told = renewal_json(self.session.spec, self._renewed, self.done, found, results)
            self.terminal.print_data(json_text(told))
            return
        self.terminal.print_data(render_served(found, self.terminal.out))
        if results and not any(each.why for each in found):
            self.terminal.print_data(render_health(results, self.terminal.out))
