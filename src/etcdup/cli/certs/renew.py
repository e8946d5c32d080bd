"""`etcdup certs renew`."""

from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change
from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.certs_json import renewal_json
from etcdup.cli.views.certs_view import render_served
from etcdup.cli.views.health_view import render_health
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.certs.consumer_roles import due_consumers
from etcdup.core.certs.generation import unknown_changes
from etcdup.core.certs.renewal import CertsToRenew, certs_to_renew, plan_renewal
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import EtcdupError
from etcdup.ops.certs.proof import ServedCert, prove_served, raise_unproved, wait_until_recovered
from etcdup.ops.world.health import Health
from etcdup.ops.world.world import World

# More days than any certificate is valid.
EVERY = 1_000_000


def renew_certificates(
    file: Path, *, days: int | None, this_copy: bool = False, yes: bool, as_json: bool
) -> int:
    """Show the plan, ask, renew, and prove by new handshakes that each port serves its new certificate.

    With `this_copy` all certificates are renewed, and this copy of the PKI directory becomes the newest one.
    """
    run = ChangeRun(Session.begin(file), "certs renew" + (" --this-copy" if this_copy else ""))
    days = EVERY if this_copy else days
    return run.run_to_exit(_renew(run, days=days, this_copy=this_copy, yes=yes, as_json=as_json))


async def _renew(run: ChangeRun, *, days: int | None, this_copy: bool, yes: bool, as_json: bool) -> None:
    async with run.session.world() as world:
        renewed = await _replace_due(run, world, days=days, this_copy=this_copy, yes=yes)
    # The connections from before the renewal may still use an expired certificate of the operator.
    async with run.session.world() as world:
        await _prove(run, world, renewed, as_json=as_json)


async def _replace_due(
    run: ChangeRun, world: World, *, days: int | None, this_copy: bool, yes: bool
) -> CertsToRenew:
    """Return the renewed certificates. The next run, or any apply, completes what a killed run began."""
    session, terminal, observed = run.session, run.terminal, await run.session.observe(world)
    chosen = certs_to_renew(session.spec, observed, days)

    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_renewal(session.spec, fresh, chosen, this_copy=this_copy)

    def prepare() -> bool:
        if this_copy:
            world.pki.supersede(unknown_changes(observed).values())
        return this_copy

    plan = make_plan(run, planner, observed)
    if plan.is_empty:
        for note in plan.notes:
            terminal.say(f"{terminal.err('yellow', 'note:')} {note}")
        terminal.say("no certificate is due for renewal")
        _warn_of_consumers(run, observed, days)
        return {}
    confirm = None if yes else YesNo(f"Renew the certificates of cluster {plan.cluster}?")
    await run_change(run, world, Change(planner, confirm, prove=False, prepare=prepare), plan, observed)
    terminal.say(f"{count_text(len(plan.steps), 'step')} done")
    _warn_of_consumers(run, observed, days)
    terminal.say()
    return chosen


def _warn_of_consumers(run: ChangeRun, observed: Observed, days: int | None) -> None:
    """Name the consumers whose certificates are due: their new files have to be copied by the operator."""
    for line in due_consumers(observed, days):
        run.terminal.warn(line)


async def _prove(run: ChangeRun, world: World, renewed: CertsToRenew, *, as_json: bool) -> None:
    """Show each port, also if members do not become healthy."""
    observed = await run.session.observe(world)
    results: tuple[Health, ...] = ()
    failure: EtcdupError | None = None
    async with run.terminal.wait_notice("waiting for the members to be healthy"):
        try:
            results = await wait_until_recovered(world, observed)
        except EtcdupError as error:
            failure = error
        found = await prove_served(world, admin_client(run.session, world))
    if as_json:
        facts = renewal_json(run.session.spec, renewed, run.done, found, results)
        run.terminal.print_data(json_text(facts))
    else:
        _show_proof(run, found, results)
    raise_unproved(found)
    if failure is not None:
        raise failure


def _show_proof(run: ChangeRun, found: tuple[ServedCert, ...], results: tuple[Health, ...]) -> None:
    run.terminal.print_data(run.terminal.with_file(render_served(found, run.terminal.out)))
    if results and not any(each.why for each in found):
        run.terminal.print_data(run.terminal.with_file(render_health(results, run.terminal.out)))
