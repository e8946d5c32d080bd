"""Revoke the leases of restored data before a client can connect (core/host/closed_member.py)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from etcdup.core.host.actions import start_command
from etcdup.core.host.closed_member import closed_address
from etcdup.core.observed.model import Observed
from etcdup.core.plan.restore_steps import RevokeLeases
from etcdup.core.restore.commands import close_commands
from etcdup.core.spec.layout import layout_of
from etcdup.ops.backups.temporary_etcd import key_files, make_credentials
from etcdup.ops.members.lifecycle import FORM_TIMEOUT_S, HEAD_START_S
from etcdup.ops.polling import wait_until
from etcdup.ops.restore.restore import stop_members
from etcdup.ops.world.observe import observe
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.wait import explain_failure, wait_for_condition
from etcdup.remote.etcd.client import Credentials, EtcdClient
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.host import HostFile

ASK_S = 5.0
# A revocation is one raft entry. etcd writes many entries that wait at the same time with one fsync.
BATCH = 128
BATCH_TIMEOUT_S = 30.0
# The time in which all members must have applied the last revocation.
APPLY_TIMEOUT_S = 60.0


async def revoke_leases(performer: Performer, step: RevokeLeases, observed: Observed) -> None:
    """Start the members so that only etcdup reaches them, and revoke all leases. Safe to repeat.

    The certificate of etcdup is for `root`, which may revoke every lease if etcd's user authentication is enabled.
    """
    credentials = make_credentials(performer.world.spec.name)
    first, *others = step.hosts
    await _start_closed(performer, first, observed, credentials)
    await performer.world.clock.sleep(HEAD_START_S)
    await asyncio.gather(*(_start_closed(performer, name, observed, credentials) for name in others))
    async with _closed_clients(performer, step.hosts, credentials) as clients:
        leader = await _wait_for_leader(performer, clients, observed)
        await _revoke_all(performer, clients)
    # A leader that stops at the same time as the others waits seven seconds to transfer its leadership.
    await stop_members(performer, set(step.hosts) - {leader}, observed, step.kind)
    await stop_members(performer, {leader}.intersection(step.hosts), observed, step.kind)


async def _start_closed(
    performer: Performer, name: str, observed: Observed, credentials: Credentials
) -> None:
    world = performer.world
    host, spec = world.hosts[name], world.spec.host(name)
    layout = layout_of(world.spec, spec)
    commands = close_commands(world.spec, spec, observed.reachable()[name], world.pki.observe())
    await performer.perform(host, commands, RevokeLeases.__name__)
    keys = (
        HostFile(f"{layout.closed}/{file}", pem, 0o600, "etcd:etcd") for file, pem in key_files(credentials)
    )
    await performer.write_temporary(host, tuple(keys))
    await performer.perform(host, [start_command(layout)], RevokeLeases.__name__)


@asynccontextmanager
async def _closed_clients(
    performer: Performer, names: Sequence[str], credentials: Credentials
) -> AsyncIterator[Mapping[str, EtcdClient]]:
    world = performer.world
    clients: dict[str, EtcdClient] = {}
    try:
        for name in names:
            host = world.spec.host(name)
            address = closed_address(host, layout_of(world.spec, host))
            port = world.spec.client_port(host)
            clients[name] = await world.connect_temporary(name, address, port, credentials)
        yield clients
    finally:
        await asyncio.gather(*(client.close() for client in clients.values()))


async def _wait_for_leader(
    performer: Performer, clients: Mapping[str, EtcdClient], observed: Observed
) -> str:
    """Wait until every member follows a leader, and return its name. Raises EtcdupError with the logs otherwise."""
    why = dict.fromkeys(clients, "")
    leader = ""

    async def ask(name: str, client: EtcdClient) -> None:
        nonlocal leader
        try:
            seen = await client.status(timeout_s=ASK_S)
            why[name] = "" if seen.leader_id else "it has no leader"
            leader = name if seen.leader_id == seen.member_id else leader
        except EtcdRpcError as error:
            why[name] = error.message.removeprefix(f"{name}: ")

    async def follow(_: Observed) -> str:
        await asyncio.gather(*(ask(name, client) for name, client in clients.items()))
        return "; ".join(f"{name}: {reason}" for name, reason in why.items() if reason)

    await wait_for_condition(
        performer.world, observed, follow, FORM_TIMEOUT_S, tuple(clients),
        reporter=performer.reporter, doing="waiting for the restored member, without clients", closed=True,
    )  # fmt: skip
    return leader


async def _revoke_all(performer: Performer, clients: Mapping[str, EtcdClient]) -> None:
    """Revoke the leases in batches, then wait until no member has one. A member lists what it has applied."""
    name, client = next(iter(clients.items()))
    leases = await client.leases(timeout_s=BATCH_TIMEOUT_S)
    for start in range(0, len(leases), BATCH):
        performer.reporter.doing(name, f"revoking leases: {start} of {len(leases)} are revoked")
        batch = leases[start : start + BATCH]
        revoke = partial(client.revoke_leases, batch, timeout_s=BATCH_TIMEOUT_S)
        await performer.send_request(RevokeLeases.__name__, name, f"revoke {len(batch)} leases", revoke)
    left = dict.fromkeys(clients, 0)

    async def is_none_left() -> bool:
        for each, member in clients.items():
            left[each] = len(await member.leases(timeout_s=BATCH_TIMEOUT_S))
        return not any(left.values())

    if not await wait_until(performer.world.clock, is_none_left, APPLY_TIMEOUT_S):
        late = tuple(each for each, count in left.items() if count)
        why = "; ".join(f"{each} still has leases ({left[each]})" for each in late)
        found = await observe(performer.world)
        raise await explain_failure(
            performer.world, found, late, f"timeout after {APPLY_TIMEOUT_S:.0f} s: {why}"
        )
    performer.reporter.doing(name, "")
