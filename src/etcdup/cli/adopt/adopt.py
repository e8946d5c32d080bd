"""`etcdup adopt --dry-run`: inspect a cluster that etcdup did not make, and draft its cluster.yaml."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

from pydantic import ValidationError

from etcdup.cli.run.change import YesNo
from etcdup.cli.run.interrupts import run_interruptibly
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.adopt_view import adopt_json, render_lists, render_members, render_refused
from etcdup.cli.views.text import json_text
from etcdup.core.adopt.draft import Draft, Wanted, draft
from etcdup.core.adopt.member import Member, member_of
from etcdup.core.adopt.model import Inspected, Unreadable
from etcdup.core.adopt.refusals import refuse_unnamed, refuse_unreadable, unnamed_members
from etcdup.core.plan.plan import Refused
from etcdup.core.spec.address import parse_ssh_address
from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.core.spec.units import WrongValue
from etcdup.errors import EXIT_DONE, EXIT_REFUSED, UsageError
from etcdup.ops.adopt.inspect_hosts import inspect_hosts, open_hosts
from etcdup.ops.install.pins import load_pins
from etcdup.remote.fleet import Connect, Fleet, connect
from etcdup.remote.secrets import Secrets
from etcdup.remote.ssh.login_user import login_user
from etcdup.remote.traced_host import traced

# A member list has at most this many hosts that were not inspected. More questions are an error of a host.
_MOST_HOSTS = 16


def inspect_cluster(hosts: Sequence[str], *, name: str, user: str, as_json: bool) -> int:
    """Print the draft and its lists. The exit code is 4 if the cluster cannot be adopted as it is."""
    terminal = Terminal()
    wanted = Wanted(name, ssh_user_of(hosts, user), pinned=load_pins())
    return run_interruptibly(terminal, _inspect_only(terminal, hosts, wanted, as_json=as_json))


def ssh_user_of(hosts: Sequence[str], user: str) -> str:
    """Return the login user: that of the option, otherwise that of ssh_config for the first host."""
    if not hosts:
        raise UsageError(
            "`adopt` needs the address of at least one host that runs etcd",
            hint="run `etcdup adopt HOST --dry-run` first, which changes nothing",
        )
    return user or login_user(hosts[0])


async def _inspect_only(terminal: Terminal, hosts: Sequence[str], wanted: Wanted, *, as_json: bool) -> int:
    members, refused = await inspect_members(terminal, hosts, wanted.ssh_user, as_json=as_json)
    made = tuple(refused) or draft(members, wanted, datetime.now(UTC))
    return _show(terminal, members, made, as_json=as_json)


async def inspect_members(
    terminal: Terminal,
    hosts: Sequence[str],
    ssh_user: str,
    *,
    as_json: bool,
    connect: Connect = connect,
    meanwhile: Callable[[], None] = lambda: None,
    to_tls: bool = False,
) -> tuple[list[Member], list[Refused]]:
    """Return the members on these hosts and on those that the operator confirms, or why they cannot be adopted.

    `meanwhile` runs in a thread while the hosts answer. `to_tls`: http between the members is no reason.
    """
    specs = [_host_spec(each, number) for number, each in enumerate(dict.fromkeys(hosts), 1)]
    members: list[Member] = []
    refused: list[Refused] = []
    asked = False
    while specs and not refused:
        names = ", ".join(each.ssh_address or each.name for each in specs)
        async with terminal.wait_notice(f"inspecting {names}"):
            found, refused = _members(
                await _inspect(terminal, specs, ssh_user, connect, meanwhile, to_tls=to_tls)
            )
        members += found
        specs = [] if refused or asked else await _confirmed(terminal, members, as_json=as_json)
        asked = True
    refused += () if refused else refuse_unnamed(members, "--to-tls" if to_tls else "--dry-run")
    return members, refused


def _host_spec(text: str, number: int) -> HostSpec:
    """Return the host to which SSH connects. Its name is the argument, so errors name what the operator typed."""
    try:
        address = parse_ssh_address(text)
    except WrongValue as wrong:
        raise UsageError(str(wrong), hint=wrong.hint) from None
    try:
        return HostSpec(name=address, address=address, ssh_address=address)
    except ValidationError:  # an alias of ssh_config, or an IPv6 address, is not the name of a host
        return HostSpec.model_construct(name=address, address=f"host{number}", ssh_address=address)


async def _inspect(
    terminal: Terminal,
    specs: Sequence[HostSpec],
    ssh_user: str,
    connect: Connect,
    meanwhile: Callable[[], None],
    *,
    to_tls: bool,
) -> dict[str, Inspected | tuple[Refused, ...]]:
    ssh, secrets, reach = _login(terminal, ssh_user, connect)
    return await inspect_hosts(specs, ssh, secrets, reach, meanwhile, to_tls=to_tls)


def open_again(
    terminal: Terminal, hosts: Sequence[str], ssh_user: str, connect: Connect
) -> AbstractAsyncContextManager[Fleet]:
    """Connect to hosts that were inspected."""
    specs = [_host_spec(each, number) for number, each in enumerate(hosts, 1)]
    return open_hosts(specs, *_login(terminal, ssh_user, connect))


def _login(terminal: Terminal, ssh_user: str, connect: Connect) -> tuple[SshSpec, Secrets, Connect]:
    ssh = SshSpec(user=ssh_user, sudo=ssh_user != "root")
    secrets = Secrets(terminal.ask_secret if terminal.can_ask else None)
    return ssh, secrets, traced(connect, terminal) if terminal.wants_commands else connect


def _members(inspected: dict[str, Inspected | tuple[Refused, ...]]) -> tuple[list[Member], list[Refused]]:
    members: list[Member] = []
    refused: list[Refused] = []
    for host, seen in inspected.items():
        if isinstance(seen, tuple):
            refused += seen
            continue
        try:
            members.append(member_of(seen))
        except Unreadable as fault:
            refused.append(refuse_unreadable(host, str(fault)))
    return members, refused


async def _confirmed(terminal: Terminal, members: Sequence[Member], *, as_json: bool) -> list[HostSpec]:
    """Return the hosts of the other members, if the operator confirms them. A host named them, not the operator."""
    missing = unnamed_members(members)
    if not missing or as_json or not terminal.can_confirm or len(missing) > _MOST_HOSTS:
        return []
    terminal.say("The member list has more members:")
    for name, host in missing.items():
        terminal.say(f"  {name}  {host}")
    await YesNo("Connect to these hosts with SSH, and inspect them too?").ask(terminal)
    return [_host_spec(host, number) for number, host in enumerate(missing.values(), len(members) + 1)]


def _show(
    terminal: Terminal, members: Sequence[Member], made: Draft | tuple[Refused, ...], *, as_json: bool
) -> int:
    if as_json:
        show_json(terminal, members, made)
        return EXIT_REFUSED if isinstance(made, tuple) else EXIT_DONE
    if isinstance(made, tuple):
        return show_refused(terminal, members, made)
    show_draft(terminal, members, made)
    terminal.say("No host was changed. The draft of cluster.yaml:")
    terminal.print_data(made.text)
    return EXIT_DONE


def show_json(terminal: Terminal, members: Sequence[Member], made: Draft | tuple[Refused, ...]) -> None:
    refused = made if isinstance(made, tuple) else ()
    found = None if isinstance(made, tuple) else made
    terminal.print_data(json_text(adopt_json(members, found, refused)))


def show_refused(terminal: Terminal, members: Sequence[Member], refused: Sequence[Refused]) -> int:
    if members:
        terminal.say(render_members(members, terminal.err))
    terminal.print_data(terminal.with_file(render_refused(refused, terminal.out, terminal.width)))
    return EXIT_REFUSED


def show_draft(terminal: Terminal, members: Sequence[Member], made: Draft) -> None:
    """Show the members and the four lists."""
    terminal.say(render_members(members, terminal.err))
    terminal.say(render_lists(made, terminal.err, terminal.width))
