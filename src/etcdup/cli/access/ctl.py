"""`etcdup ctl`."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.core.backups.backups import backup_source
from etcdup.core.certs.consumer_roles import gateway_clients
from etcdup.core.certs.exports import etcdctl_variables
from etcdup.core.certs.user_access import access_problems
from etcdup.errors import EXIT_INTERRUPTED, EtcdupError, UsageError
from etcdup.ops.certs.export import admin_files
from etcdup.ops.certs.users import read_users
from etcdup.ops.etcdctl import find_etcdctl, resolve_endpoints
from etcdup.ops.world.etcd_access import etcd_access
from etcdup.ops.world.world import World

_SIGNAL_EXIT_BASE = 128
# etcdctl accepts only one endpoint for this command (rule 53).
_SINGLE_MEMBER_COMMAND = ["snapshot", "save"]
_AUTH_TIMEOUT_S = 5.0


def run_etcdctl(file: Path, arguments: Sequence[str], endpoint: str | None) -> int:
    """Run etcdctl on stdin, stdout and stderr of this process, and return its exit code."""
    begun = Session.begin(file)
    # The members and etcdctl get the password of one command, which may prompt.
    session = replace(begun, access=etcd_access(begun.spec, begun.folder))
    names = [host.name for host in session.spec.hosts]
    if endpoint is not None and endpoint not in names:
        raise UsageError(f"--endpoint: there is no member {endpoint}", hint=f"use one of {', '.join(names)}")
    try:
        return session.run(_run_on_members(session, arguments, [endpoint] if endpoint else names))
    except Interrupted:
        return EXIT_INTERRUPTED  # This is the usual end of a `watch`.


async def _run_on_members(session: Session, arguments: Sequence[str], names: Sequence[str]) -> int:
    async with session.world() as world:
        files = admin_files(session.spec, session.folder, world.pki)
        etcdctl = await find_etcdctl(world, session.folder, session.terminal.report)
        if len(names) > 1 and _words(arguments)[:2] == _SINGLE_MEMBER_COMMAND:
            names = [await _choose_member(session, world)]
        if _is_auth_enable(arguments):
            await _warn_before_auth(session, world)
        login = {} if _names_user(arguments) else await _login_variables(session, world, names)
        endpoints = await resolve_endpoints(world, names)
        return await _run_process(etcdctl, arguments, etcdctl_variables(",".join(endpoints), files) | login)


def _words(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of etcdctl without its options."""
    return [each for each in arguments if not each.startswith("-")]


def _is_auth_enable(arguments: Sequence[str]) -> bool:
    """Return whether etcdctl enables the users of etcd. An option with a separate value can be before the command."""
    return ("auth", "enable") in pairwise(_words(arguments))


async def _warn_before_auth(session: Session, world: World) -> None:
    """Warn of clients that etcd refuses as soon as its users are enabled."""
    observed = await session.observe(world)
    _, roles = await read_users(world, observed)
    for problem in access_problems(session.spec, observed.pki, roles):
        session.terminal.warn(f"{problem.what} {problem.why} {problem.fix}")
    if gateways := gateway_clients(observed.pki):
        session.terminal.warn(
            f"{', '.join(gateways)} use the JSON gateway of etcd, so they need a user and a password in their "
            "configuration. A Patroni before 4.1.1 demotes its primary now, and at a later restart of a member"
        )


async def _choose_member(session: Session, world: World) -> str:
    name = backup_source(await session.observe(world))
    if name is None:
        raise EtcdupError(
            "no member is healthy enough to take a snapshot from",
            hint="pass `--endpoint NAME` to take it from that member",
        )
    session.terminal.say(f"etcdctl takes a snapshot from one member: {name}.")
    return name


def _names_user(arguments: Sequence[str]) -> bool:
    """Return whether the operator passes the user to etcdctl, which accepts one dash or two."""
    return any(each.lstrip("-").partition("=")[0] == "user" for each in arguments if each.startswith("-"))


async def _login_variables(session: Session, world: World, names: Sequence[str]) -> dict[str, str]:
    """Return the user of `etcd.access` for etcdctl, and nothing while authentication is not enabled.

    Only this user and root can read the environment of a process. Arguments are readable for all users.
    """
    access = session.access
    if access is None or not await _is_auth_enabled(world, names):
        return {}
    return {"ETCDCTL_USER": access.user, "ETCDCTL_PASSWORD": await access.password()}


async def _is_auth_enabled(world: World, names: Sequence[str]) -> bool:
    for name in names:
        with suppress(EtcdupError):
            return await (await world.etcd(name)).is_auth_enabled(timeout_s=_AUTH_TIMEOUT_S)
    return False  # No member answers: etcdctl says why.


async def _run_process(etcdctl: Path, arguments: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run etcdctl and wait for its end, also after Ctrl-C, which the terminal sends to etcdctl too."""
    ours = ("ETCDCTL_", "ETCDUP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(etcdctl, *arguments, env={**kept, **variables})
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    return status if status >= 0 else _SIGNAL_EXIT_BASE - status
