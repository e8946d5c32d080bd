"""`etcdup health`."""

import json
from pathlib import Path
from typing import Any

from etcdup.cli.run.session import Session
from etcdup.cli.views.health_view import render_health, verdict
from etcdup.core.members.member_list import member_list_differences
from etcdup.core.observed.model import Observed
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.world.health import Health, prove_each


def show_health(file: Path, *, as_json: bool) -> int:
    """A line a member; 0 only where every member is proved healthy."""
    session = Session.begin(file)
    observed, results = session.run(_prove(session))
    differing = member_list_differences(session.spec, observed)
    if as_json:
        session.terminal.print_data(json.dumps(health_json(results, differing), indent=1) + "\n")
    else:
        session.terminal.print_data(render_health(results, session.terminal.out, differing))
    for gone in observed.unreachable().values():
        session.terminal.warn(f"{gone.host} cannot be reached over SSH: {gone.why}")
    return EXIT_DONE if verdict(results, differing) == "healthy" else EXIT_FAILED


async def _prove(session: Session) -> tuple[Observed, tuple[Health, ...]]:
    async with session.world() as world:
        observed = await session.observe(world)
        async with session.terminal.wait_notice("asking the members"):
            return observed, await prove_each(world, observed)


def health_json(results: tuple[Health, ...], differing: tuple[str, ...]) -> dict[str, Any]:
    cluster = verdict(results, differing)
    return {
        "format": 1,
        "cluster": cluster,
        "differences": list(differing),
        "members": [member_json(result) for result in results],
    }


def member_json(result: Health) -> dict[str, Any]:
    return {
        "name": result.name,
        "url": result.url,
        "member_id": f"{result.member_id:x}" if result.member_id else None,
        "healthy": result.ok,
        "why": result.why or None,
        "took_ms": round(result.took_s * 1000, 1),
    }
