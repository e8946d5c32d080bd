"""`etcdup maintain move-leader`."""

from pathlib import Path

from etcdup.cli.run.change import Change, ChangeRun, YesNo, make_plan, run_change
from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.session import Session
from etcdup.core.maintain.leadership import best_follower, leader_name, plan_move_leader
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Plan, Refusal


def move_leader(file: Path, name: str | None, *, yes: bool, as_json: bool) -> int:
    session = Session.begin(file)
    chosen_hosts(session.spec, file, name)
    run = ChangeRun(session, " ".join(filter(None, ("maintain move-leader", name))), as_json=as_json)
    return run.run_to_exit(_move(run, name, yes=yes))


async def _move(run: ChangeRun, name: str | None, *, yes: bool) -> None:
    session, spec = run.session, run.session.spec
    async with session.world() as world:
        world.reads_activity = True
        first = session.require_formed(await session.observe(world))
        # Chosen once: after the transfer, the former leader is a follower.
        target = name or best_follower(first)

        def planner(observed: Observed) -> Plan | Refusal:
            return plan_move_leader(spec, observed, target)

        plan = make_plan(run, planner, first)
        if plan.is_empty:
            if run.report is not None:
                run.report.plan = plan
            run.terminal.say(f"nothing to do: {target} is the leader")
            return
        question = YesNo(f"Transfer the leadership from {leader_name(first)} to {target}?")
        change = Change(planner, None if yes else question, prove=False)
        if await run_change(run, world, change, plan, first) is not None:
            run.terminal.say(f"{target} is the leader, and all members follow it")
