"""`etcdup check`."""

import asyncio
from dataclasses import replace
from pathlib import Path

from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.check_view import check_json, render_check
from etcdup.cli.views.text import json_text
from etcdup.core.audit.audit import audit
from etcdup.core.audit.findings import Evidence, worst_level
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.audit.backup_sizes import read_backup_sizes
from etcdup.ops.audit.gather import gather_evidence


def check_cluster(file: Path, *, as_json: bool, disk: bool) -> int:
    """Print the findings. Return 1 if one of them is `wrong`, otherwise 0."""
    session = Session.begin(file)
    evidence = session.run(_gather_evidence(session, disk=disk))
    findings = audit(session.spec, evidence)
    if as_json:
        text = json_text(check_json(session.spec, evidence, findings))
    else:
        text = session.terminal.with_file(
            render_check(session.spec, evidence, findings, session.terminal.out)
        )
    session.terminal.print_data(text)
    return EXIT_FAILED if worst_level(findings) == "wrong" else EXIT_DONE


async def _gather_evidence(session: Session, *, disk: bool) -> Evidence:
    async with session.world() as world:
        observed = await session.observe_with_lock(world)
        async with session.terminal.wait_notice("checking"):
            evidence, (sizes, why) = await asyncio.gather(
                gather_evidence(world, observed, admin_client(session, world), disk=disk),
                read_backup_sizes(session.spec, session.folder),
            )
    return replace(evidence, backup_sizes=sizes, sizes_unread=why)
