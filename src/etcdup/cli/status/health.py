"""`etcdup health`."""

from pathlib import Path

from etcdup.cli.run.session import Session
from etcdup.cli.views.health_view import health_json, health_of, render_health
from etcdup.cli.views.text import json_text
from etcdup.core.members.limits import limits
from etcdup.core.members.member_list import member_list_differences
from etcdup.core.observed.model import Observed
from etcdup.core.verdict.verdict import judge
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.world.health import Health, prove_each


def show_health(file: Path, *, as_json: bool) -> int:
    """Print one line for each member. Return 0 only if all members are proved healthy."""
    session = Session.begin(file)
    spec, terminal = session.spec, session.terminal
    observed, results = session.run(_prove(session))
    verdict = judge(spec, observed, with_files=False)
    if as_json:
        differing = member_list_differences(spec, observed)
        terminal.print_data(json_text(health_json(results, verdict, differing, limits(spec, observed))))
    else:
        terminal.print_data(terminal.with_file(render_health(results, terminal.out, verdict, terminal.width)))
    return EXIT_DONE if health_of(results, verdict) == "healthy" else EXIT_FAILED


async def _prove(session: Session) -> tuple[Observed, tuple[Health, ...]]:
    async with session.world() as world:
        observed = await session.observe_with_lock(world)
        async with session.terminal.wait_notice("checking the members"):
            return observed, await prove_each(world, observed)
