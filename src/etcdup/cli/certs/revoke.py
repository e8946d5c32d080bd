"""`etcdup certs revoke`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, require_take_over, run_change
from etcdup.cli.run.session import Session
from etcdup.cli.views.revocation_view import render_rejections, revocation_json
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.certs.revocation import ToRevoke, certs_to_revoke, plan_revocation
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import UsageError
from etcdup.ops.certs.rejection import Rejection, keep_pairs, prove_rejected, raise_accepted
from etcdup.ops.world.world import World


def revoke_certificates(file: Path, name: str, *, yes: bool, as_json: bool) -> int:
    """Show the plan, ask, revoke, and prove by new handshakes that each member rejects the certificates."""
    run = ChangeRun(Session.begin(file), f"certs revoke {name}")
    return run.run_to_exit(_revoke(run, name, yes=yes, as_json=as_json))


async def _revoke(run: ChangeRun, name: str, *, yes: bool, as_json: bool) -> None:
    async with run.session.world() as world:
        observed = run.session.require_formed(await run.session.observe(world))
        require_take_over(run, observed)
        issued = {**world.pki.archived_certs(), **observed.pki.certs}
        chosen = certs_to_revoke(name, issued, observed.at)
        if not chosen and run.session.spec.tls.mode == "managed":
            raise UsageError(
                f"no valid certificate has the name {name}", hint="run `etcdup certs list` to see all names"
            )
        with keep_pairs(chosen) as pairs:
            await _change(run, world, observed, chosen, yes=yes)
            await _prove(run, chosen, pairs, as_json=as_json)


async def _change(
    run: ChangeRun, world: World, observed: Observed, chosen: Sequence[ToRevoke], *, yes: bool
) -> None:
    def planner(fresh: Observed) -> Plan | Refusal:
        return plan_revocation(run.session.spec, fresh, chosen)

    plan = make_plan(run, planner, observed)
    if plan.is_empty:
        for note in plan.notes:
            run.terminal.warn(note)
        run.terminal.say("nothing to do: these certificates are revoked already")
        return
    names = ", ".join(each.role for each in chosen)
    question = f"Clients with these certificates can no longer connect. Revoke {names}?"
    await run_change(
        run, world, Change(planner, None if yes else YesNo(question), prove=False), plan, observed
    )
    run.terminal.say(f"{count_text(len(plan.steps), 'step')} done")


async def _prove(
    run: ChangeRun, chosen: Sequence[ToRevoke], pairs: Mapping[str, tuple[Path, Path]], *, as_json: bool
) -> None:
    """Prove it over new connections: those of the change may use a certificate that is revoked now."""
    async with run.session.world() as world:
        observed = await run.session.observe(world)
        async with run.terminal.wait_notice("doing TLS handshakes"):
            found = await prove_rejected(world, observed, chosen, pairs)
    _show(run, observed, chosen, found, as_json=as_json)
    raise_accepted(found)


def _show(
    run: ChangeRun,
    observed: Observed,
    chosen: Sequence[ToRevoke],
    found: Sequence[Rejection],
    *,
    as_json: bool,
) -> None:
    spec = run.session.spec
    if as_json:
        run.terminal.print_data(json_text(revocation_json(spec, observed, chosen, run.done, found)))
    else:
        run.terminal.print_data(run.terminal.with_file(render_rejections(found, run.terminal.out)))
    run.terminal.say(
        f"{run.terminal.err('yellow', 'note:')} connections that are open now continue. To end them, run `etcdup "
        "restart`"
    )
