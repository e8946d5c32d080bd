"""`etcdup restart`."""

from pathlib import Path

from etcdup.cli.apply.apply import converge
from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.core.members.quorum import describe_quorum, healthy, voter_count
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal
from etcdup.core.planner.restart import observe_starts, plan_drain, plan_restart
from etcdup.ops.world.observe_members import observe_members


def restart_members(file: Path, name: str | None, *, drain: bool, yes: bool, as_json: bool) -> int:
    """Restart all members, or one, in turn. `drain`: stop the member instead, so that its host can reboot."""
    session = Session.begin(file)
    chosen = chosen_hosts(session.spec, file, name)
    check_tls_files(session)
    verb = " ".join(filter(None, ("restart", name, "--drain" if drain else "")))
    run = ChangeRun(session, verb, as_json=as_json)
    if name is not None and drain:
        return run.run_to_exit(_drain(run, name, yes=yes))
    return run.run_to_exit(converge(run, lambda first: _change(session, chosen, first, yes=yes)))


def _change(session: Session, names: list[str], first: Observed, *, yes: bool) -> Change:
    session.require_formed(first)
    spec, token, before = session.spec, session.generate_token(), observe_starts(names, first)

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_restart(spec, observed, token, before)

    which = names[0] if len(names) == 1 else f"all members of cluster {spec.name}, one after the other"
    return Change(planner, None if yes else YesNo(f"Restart {which}?"))


async def _drain(run: ChangeRun, name: str, *, yes: bool) -> None:
    session = run.session
    spec, token = session.spec, session.generate_token()

    def planner(observed: Observed) -> Plan | Refusal:
        return plan_drain(spec, name, observed, token)

    question = YesNo(f"etcd on {name} stays stopped until you start it, or until the host boots. Stop it?")
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        plan = make_plan(run, planner, observed)
        if not plan.is_empty:
            change = Change(planner, None if yes else question, prove=False)
            if await run_change(run, world, change, plan, observed) is None:
                return
        elif run.report is not None:
            run.report.plan = plan
        _say_what_follows(run, name, await observe_members(world, observed))


def _say_what_follows(run: ChangeRun, name: str, observed: Observed) -> None:
    voters = describe_quorum(voter_count(observed), len(healthy(observed)))
    run.terminal.say(f"etcd on {name} is stopped: {voters}")
    run.terminal.say(f"now: reboot {name}. etcd starts when the host boots")
    run.terminal.say("then: run `etcdup apply`, which starts etcd if it does not run, and proves all members")
