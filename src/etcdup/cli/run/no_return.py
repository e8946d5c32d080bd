"""The question before the last member of a minor changes: afterwards, the way back is another one, or there is none."""

from etcdup.cli.run.terminal import Terminal
from etcdup.core.observed.member import MemberSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.member_steps import RestartMember
from etcdup.core.plan.plan import Plan
from etcdup.core.spec.version import Version, parse_version
from etcdup.core.versions.upgrade_paths import how_to_go_back, way_back
from etcdup.errors import PartlyApplied


async def confirm_no_return(terminal: Terminal, plan: Plan, step: RestartMember, observed: Observed) -> None:
    """Ask whether to restart the last member of a minor. Raise PartlyApplied if the answer is not yes.

    `observed` is what the plan was made from.
    """
    running = versions_before(plan, step, observed)
    terminal.say("\n".join(no_return_lines(step, running)))
    if await terminal.confirm(f"Restart {step.host} with {step.version}?"):
        terminal.say()
        return
    raise PartlyApplied(
        f"{step.host} still runs {running[step.host]}, as you chose; the other members run {step.version}",
        detail="the cluster serves clients, and can stay in this state for a while, but not for weeks",
        hint=f"to go back, set `version: {running[step.host]}` in cluster.yaml and run `etcdup apply`",
    )


def no_return_lines(step: RestartMember, running: dict[str, Version]) -> list[str]:
    """Return which member runs which version, what this step ends, and how to go back instead."""
    target, own = parse_version(step.version), running[step.host]
    width = max(map(len, running))
    end = "" if way_back(target.series) else "This is the point of no return. "
    others = [f"  {name:{width}}  runs {running[name]}" for name in sorted(running) if name != step.host]
    return [
        "",
        f"{step.host} is the last member that runs {own.major}.{own.minor}:",
        *others,
        f"  {step.host:{width}}  runs {own}, would run {target}",
        f"{end}After {step.host} runs {target}, {how_to_go_back(own, target)}.",
        f"To go back now: answer no, set `version: {own}` in cluster.yaml, and run `etcdup apply`.",
    ]


def versions_before(plan: Plan, step: RestartMember, observed: Observed) -> dict[str, Version]:
    """Return the version that each member runs before this step: the observed one, or that of its last restart."""
    running = {name: seen.version for name, seen in observed.members.items() if isinstance(seen, MemberSeen)}
    for each in plan.steps:
        if each.identity == step.identity:
            break
        if isinstance(each, RestartMember):
            running[each.host] = parse_version(each.version)
    return running
