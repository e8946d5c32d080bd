"""`etcdup health`."""

from pathlib import Path

from etcdup.cli.run.session import Session
from etcdup.cli.views.health_view import health_json, render_health, verdict
from etcdup.cli.views.text import json_text
from etcdup.core.members.limits import limit_notes, limits
from etcdup.core.members.member_list import member_list_differences
from etcdup.core.observed.model import Observed
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.world.health import Health, prove_each


def show_health(file: Path, *, as_json: bool) -> int:
    """Print one line for each member. Return 0 only if all members are proved healthy."""
    session = Session.begin(file)
    observed, results = session.run(_prove(session))
    differing = member_list_differences(session.spec, observed)
    found = limits(session.spec, observed)
    if as_json:
        session.terminal.print_data(json_text(health_json(results, differing, found)))
    else:
        session.terminal.print_data(
            render_health(results, session.terminal.out, differing, limit_notes(session.spec, observed))
        )
    for gone in observed.unreachable().values():
        session.terminal.warn(f"cannot connect to {gone.host} over SSH: {gone.why}")
    return EXIT_DONE if verdict(results, differing) == "healthy" else EXIT_FAILED


async def _prove(session: Session) -> tuple[Observed, tuple[Health, ...]]:
    async with session.world() as world:
        observed = await session.observe(world)
        async with session.terminal.wait_notice("checking the members"):
            return observed, await prove_each(world, observed)
