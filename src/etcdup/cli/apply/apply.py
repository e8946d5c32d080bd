"""`etcdup apply`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from etcdup.cli.apply.plan import read_plan, refuse_cluster_file, refuse_stale_plan
from etcdup.cli.apply.warnings import check_tls_files, print_warnings, restrict_keys
from etcdup.cli.run.change import Change, ChangeRun, YesNo, apply_change, confirm_change, make_plan
from etcdup.cli.run.cluster_file import path_from_here
from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.certs_view import render_served
from etcdup.core.certs.consumer_roles import CONSUMER_ROLES, likely_role
from etcdup.core.certs.renewal import replaces_leaves
from etcdup.core.certs.revocation import ToRevoke, revoked_by
from etcdup.core.host.known_endpoints import served_endpoints
from etcdup.core.members.endpoints import CONFIRMATION, consumer_names, desired_endpoints
from etcdup.core.observed.model import Observed
from etcdup.core.plan.certificate_steps import IssueCertificates
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.errors import PkiError
from etcdup.ops.apply.apply import finish
from etcdup.ops.previous_endpoints import write_previous_endpoints
from etcdup.ops.world.connected_clients import members_by_client, observe_connected_clients
from etcdup.ops.world.health import Health
from etcdup.ops.world.observe import observe
from etcdup.ops.world.refusal import raise_refusal
from etcdup.ops.world.world import World


def apply_file(
    file: Path, *, saved: Path | None, yes: bool, as_json: bool = False, confirmed: bool = False
) -> int:
    """Show the plan, ask, apply it, and prove that all members are healthy.

    `confirmed`: the operator says that clients have the endpoints of cluster.yaml.
    """
    if saved is not None:
        refuse_cluster_file(saved)
    session = Session.begin(file)
    check_tls_files(session)
    plan = read_plan(saved, session.spec.name) if saved else None
    run = ChangeRun(session, f"apply {CONFIRMATION}" if confirmed else "apply", as_json=as_json)

    def choose(_: Observed) -> Change:
        planner = session.planner(plan.token if plan else "", confirmed=confirmed)
        return Change(planner, None if yes else ask_to_apply(session))

    return run.run_to_exit(converge(run, choose, saved=plan))


def apply_session(session: Session) -> int:
    """Apply a file that was read already, without showing the plan and without asking."""
    run, change = ChangeRun(session, "apply"), Change(session.planner(), None, show=False)
    return run.run_to_exit(converge(run, lambda _: change))


def ask_to_apply(session: Session) -> YesNo:
    return YesNo(f"Apply this plan to cluster {session.spec.name}?")


async def converge(
    run: ChangeRun, choose: Callable[[Observed], Change], *, saved: Plan | None = None, replaced: str = ""
) -> None:
    """Observe, plan, show, confirm, apply and prove. `choose` gets the first observation.

    Other verbs that end with a healthy cluster call this with their own planners. `replaced` is the host that gets
    another member.
    """
    async with run.session.world() as world:
        world.replaced = replaced
        observed = await run.session.observe_with_lock(world)
        await converge_to(run, world, observed, choose(observed), saved=saved)


async def converge_to(
    run: ChangeRun, world: World, observed: Observed, change: Change, *, saved: Plan | None = None
) -> None:
    """Plan from this observation, show, confirm, apply and prove."""
    session = run.session
    observed = await session.resolve_binaries(world, observed)
    plan = make_plan(run, change.planner, observed)
    if saved is not None and (reasons := refuse_stale_plan(saved, plan)):
        run.show_plan(plan)
        raise_refusal(Refusal(plan.cluster, reasons))
    print_warnings(session)
    leaving = served_endpoints(observed) - desired_endpoints(session.spec)
    if plan.is_empty:
        restrict_keys(session, world.pki)
        write_previous_endpoints(session.spec, session.folder, leaving)
        await _report_nothing_to_do(run, world, plan, observed)
    elif await confirm_change(run, change, plan):
        if change.confirm is not None:
            await ask_new_passphrase(session, world)
        restrict_keys(session, world.pki)
        write_previous_endpoints(session.spec, session.folder, leaving)
        results = await _apply_and_prove(run, world, change, plan, observed)
        run.report_health(results)
        write_previous_endpoints(session.spec, session.folder, ())
        await _say_new_endpoints(run, world, observed)


async def _apply_and_prove(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed
) -> tuple[Health, ...]:
    """Apply a plan, and prove by new handshakes which certificates members serve and reject (rules 17, 110)."""
    plan = await _without_impossible_revocation(run, world, change, plan, observed)
    revoked = revoked_by(plan, observed.pki)
    if not revoked:
        results = await apply_change(run, world, change, plan, observed)
        await _prove_served(run, world, plan)
        return results
    from etcdup.ops.certs.rejection import keep_pairs

    with keep_pairs(revoked) as pairs:
        results = await apply_change(run, world, change, plan, observed)
        await _prove_served(run, world, plan)
        await _prove_rejected(run, world, revoked, pairs)
    return results


async def _without_impossible_revocation(
    run: ChangeRun, world: World, change: Change, plan: Plan, observed: Observed
) -> Plan:
    """Return the plan without its revocation, if the CA key cannot be used. A dead member can be removed all the same.

    A revocation is at the end of a plan. So the passphrase is asked for, and checked, before the first change.
    """
    revoked = revoked_by(plan, observed.pki)
    if not revoked:
        return plan
    try:
        await asyncio.to_thread(world.pki.unlock, observed.at)
    except PkiError:
        without = make_plan(run, change.planner, replace(observed, pki=world.pki.observe()))
        if any(isinstance(step, IssueCertificates) for step in without.steps):
            raise
        for note in without.notes:
            if note not in plan.notes:
                run.terminal.warn(note)
        return without
    return plan


async def _prove_rejected(
    run: ChangeRun, world: World, revoked: Sequence[ToRevoke], pairs: Mapping[str, tuple[Path, Path]]
) -> None:
    from etcdup.cli.views.revocation_view import render_rejected
    from etcdup.ops.certs.rejection import prove_rejected, raise_accepted

    async with run.terminal.wait_notice("doing TLS handshakes"):
        found = await prove_rejected(world, await observe(world), revoked, pairs)
    raise_accepted(found)
    if run.report is None:
        run.terminal.print_data(run.terminal.with_file(render_rejected(found, run.terminal.out)))


async def ask_new_passphrase(session: Session, world: World) -> None:
    """Ask for the passphrase of a CA key that this run makes. It is before the lock: an operator may think for long.

    Call it only after a confirmation: a run without one asks nothing.
    """
    terminal = session.terminal
    if not terminal.can_confirm or not world.pki.makes_plain_key():
        return
    key = f"the new CA key in {path_from_here(session.spec.tls.dir, session.folder)}"
    if passphrase := await asyncio.to_thread(terminal.read_new_passphrase, key):
        world.pki.encrypt_new_key(passphrase)


async def _say_new_endpoints(run: ChangeRun, world: World, before: Observed) -> None:
    """Say what clients have to do after a change of endpoints, and which clients there are. `before` is from before."""
    spec, terminal = run.session.spec, run.terminal
    served = served_endpoints(before)
    if run.report is not None or not served or served == desired_endpoints(spec):
        return
    terminal.say()
    terminal.say(f"now: give clients these endpoints: {spec.endpoints()}")
    terminal.say("  `etcdup export` and `etcdup certs issue NAME` print the configuration of a client")
    for name in consumer_names(before):
        terminal.say(
            f"  {name}, to which etcdup has issued a certificate: {CONSUMER_ROLES[likely_role(name)].endpoints}"
        )
    clients = members_by_client(await observe_connected_clients(world, before))
    for client, members in sorted(clients.items()):
        terminal.say(f"  connected now: {client} to {', '.join(members)}")


async def _report_nothing_to_do(run: ChangeRun, world: World, plan: Plan, observed: Observed) -> None:
    """Say that there is nothing to do, after all members are proved healthy."""
    terminal = run.terminal
    if run.report is not None:
        run.report.plan = plan
    async with terminal.wait_notice("checking the members"):
        results = await finish(world, observed)
    for note in plan.notes:
        terminal.say(f"{terminal.err('yellow', 'note:')} {note}")
    terminal.say("nothing to do")
    run.report_health(results)


async def _prove_served(run: ChangeRun, world: World, plan: Plan) -> None:
    """Prove new certificates by new handshakes, because a proof of health may use older connections (rule 17)."""
    if not replaces_leaves(plan):
        return
    from etcdup.ops.certs.proof import prove_served, raise_unproved

    async with run.terminal.wait_notice("doing TLS handshakes"):
        found = await prove_served(world, admin_client(run.session, world))
    if run.report is None:
        run.terminal.print_data(run.terminal.with_file(render_served(found, run.terminal.out)))
    raise_unproved(found)
