"""`etcdup adopt --to-tls`: print the commands of the next step from http to https. No host is changed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from etcdup.cli.adopt.adopt import inspect_members, open_again, ssh_user_of
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.adopt_view import render_members, render_refused
from etcdup.cli.views.text import json_text
from etcdup.cli.views.to_tls_view import render_state, to_tls_json
from etcdup.core.adopt.member import Member
from etcdup.core.adopt.to_tls import ToTls, next_step
from etcdup.core.adopt.to_tls_script import script_of
from etcdup.core.plan.plan import Refused
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EXIT_REFUSED
from etcdup.ops.adopt.check_tls_ports import refuse_closed_ports
from etcdup.remote.shared_logins import SharedLogins


def show_next_step(hosts: Sequence[str], *, user: str, as_json: bool) -> int:
    """Print the script of the next step. The exit code is 3 while a step is left, and 4 if none is possible."""
    terminal = Terminal()
    return run_interruptibly(terminal, _show_next_step(terminal, hosts, ssh_user_of(hosts, user), as_json))


async def _show_next_step(terminal: Terminal, hosts: Sequence[str], user: str, as_json: bool) -> int:
    async with SharedLogins() as logins:
        members, refused = await inspect_members(
            terminal, hosts, user, as_json=as_json, connect=logins.connect, to_tls=True
        )
        found = tuple(refused) or next_step(members, datetime.now(UTC))
        if isinstance(found, ToTls) and found.step in ("add", "remove"):
            found = await _refuse_closed_ports(terminal, members, user, logins) or found
    if isinstance(found, tuple):
        return _show_refused(terminal, members, found, as_json=as_json)
    script = script_of(found, members, user)
    if as_json:
        terminal.print_data(json_text(to_tls_json(members, found, script, ())))
    else:
        terminal.say(render_members(members, terminal.err))
        terminal.say(render_state(members, found, terminal.width))
        if script:
            terminal.print_data(script)
    return EXIT_DONE if found.step == "done" else EXIT_CHANGES


async def _refuse_closed_ports(
    terminal: Terminal, members: Sequence[Member], user: str, logins: SharedLogins
) -> tuple[Refused, ...]:
    hosts = [each.inspected.host for each in members]
    async with (
        terminal.wait_notice("each member connects to the https ports of the others"),
        open_again(terminal, hosts, user, logins.connect) as fleet,
    ):
        return await refuse_closed_ports(fleet.hosts, members)


def _show_refused(
    terminal: Terminal, members: Sequence[Member], refused: Sequence[Refused], *, as_json: bool
) -> int:
    if as_json:
        terminal.print_data(json_text(to_tls_json(members, None, "", refused)))
        return EXIT_REFUSED
    if members:
        terminal.say(render_members(members, terminal.err))
    terminal.print_data(render_refused(refused, terminal.out, terminal.width, "There are no commands:"))
    return EXIT_REFUSED
