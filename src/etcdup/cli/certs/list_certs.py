"""`etcdup certs list`."""

import asyncio
from pathlib import Path

from etcdup.cli.run.session import Session, admin_client
from etcdup.cli.views.certs_view import inventory_json, render_inventory
from etcdup.cli.views.text import json_text
from etcdup.core.certs.inventory import Inventory, cert_inventory
from etcdup.core.observed.model import Observed
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.certs.links import probe_links
from etcdup.ops.certs.survey import inspect_certs


def list_certificates(file: Path, *, days: int | None, as_json: bool) -> int:
    """Print all certificates. Return 0 only if each is readable, the same everywhere, and not due."""
    session = Session.begin(file)
    observed, found = session.run(_inspect(session, days))
    raft = raft_links(observed)
    text = (
        json_text(inventory_json(found, raft))
        if as_json
        else session.terminal.with_file(render_inventory(found, raft, session.terminal.out))
    )
    session.terminal.print_data(text)
    return EXIT_DONE if found.is_ok else EXIT_FAILED


async def _inspect(session: Session, days: int | None) -> tuple[Observed, Inventory]:
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        async with session.terminal.wait_notice("doing TLS handshakes"):
            client = admin_client(session, world)
            copies, links = await asyncio.gather(
                inspect_certs(world, observed, client), probe_links(world, observed)
            )
        crls = observed.pki.crls.values()
        spec, waiting = session.spec, observed.adopted
        return observed, cert_inventory(
            spec, copies, links, observed.at, days, crls, waiting, observed.pki.shared
        )


def raft_links(observed: Observed) -> str:
    """Return which member follows which leader, over the connections that raft has open now (rule 17).

    These connections may be older than the certificates, so they prove nothing about new handshakes.
    """
    seen = observed.answering()
    ids = {member.member_id: name for name, member in seen.items()}
    leaders = [name for name, member in seen.items() if member.leader_id == member.member_id]
    following = [
        f"{name} follows {ids.get(member.leader_id, f'{member.leader_id:x}')}" if member.leader_id else
        f"{name} has no leader"
        for name, member in seen.items()
        if name not in leaders
    ]  # fmt: skip
    return ", ".join([*(f"{name} leads" for name in leaders), *following])
