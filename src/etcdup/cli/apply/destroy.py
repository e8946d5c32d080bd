"""`etcdup destroy`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, ClusterName, Confirm, make_plan, run_change
from etcdup.cli.run.cluster_file import path_from_here
from etcdup.cli.run.session import Session
from etcdup.core.observed.directory import aside_suffix
from etcdup.core.observed.model import Observed
from etcdup.core.plan.host_steps import RetireMember
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.destroy import archived_paths, plan_destroy
from etcdup.errors import EtcdupError, PartlyApplied


def destroy_cluster(file: Path, name: str | None) -> int:
    """Stop the cluster permanently. `name` is its name if the operator confirmed with an option."""
    session = Session.begin(file, named=name)
    run = ChangeRun(session, "destroy")
    cluster = session.spec.name
    effect = (
        f"This stops cluster {cluster} permanently and archives its data on each host. No data is deleted. The private "
        "keys on the hosts are deleted."
    )
    confirm = ClusterName(cluster, "destroy", effect)
    return run.run_to_exit(_destroy(run, None if name is not None else confirm))


async def _destroy(run: ChangeRun, confirm: Confirm | None) -> None:
    session, suffix = run.session, aside_suffix(datetime.now(UTC))

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_destroy(session.spec, observed, suffix)

    async with session.world() as world:
        observed = await session.observe(world)
        plan = make_plan(run, planner, observed)
        if plan.is_empty:
            run.show_plan(plan)
        else:
            await run_change(run, world, Change(planner, confirm, prove=False), plan, observed)
            _report_archives(session, plan, observed)
        _raise_for_unreachable(plan, observed)


def _report_archives(session: Session, plan: Plan, observed: Observed) -> None:
    session.terminal.say("No data was deleted. The data and the configuration are now in:")
    for step in plan.steps:
        assert isinstance(step, RetireMember)
        for path in archived_paths(session.spec, step, observed):
            session.terminal.say(f"  {step.host}  {path}")
    if session.spec.tls.mode == "managed":
        pki = path_from_here(session.spec.tls.dir, session.folder)
        session.terminal.say(f"The certificates and the CA are still in {pki}.")


def _raise_for_unreachable(plan: Plan, observed: Observed) -> None:
    gone = list(observed.unreachable().values())
    if not gone:
        return
    error = EtcdupError if plan.is_empty else PartlyApplied
    names = ", ".join(each.host for each in gone)
    raise error(
        f"could not connect to {names}: etcd may still run there",
        detail="\n".join(f"{each.host}: {each.why}" for each in gone),
        hint="make SSH to these hosts work, then run `etcdup destroy` again",
    )
