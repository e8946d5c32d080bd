"""Do a salvage: read the end of a member's log, and take a snapshot of a copy of its data."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePosixPath

from etcdup.core.etcd.log_messages import telling_lines
from etcdup.core.etcd.wal import LastEntry, LogEnd, commit_record, parse_log_end
from etcdup.core.members.member_list import host_of
from etcdup.core.observed.host import HostSeen
from etcdup.core.observed.model import Observed
from etcdup.core.plan.restore_steps import SalvageArchive, SalvageData
from etcdup.core.recovery.disk_salvage import (
    BACKUP_HINT,
    append_command,
    clear_copy_commands,
    copy_commands,
    salvage_keys_path,
    salvage_path,
    salvage_size_argv,
    serve_argv,
    wal_path,
    with_archived_data,
)
from etcdup.core.restore.data_copy import SIZE_TIMEOUT_S
from etcdup.core.spec.layout import Layout, layout_of
from etcdup.errors import CommandFailed, EtcdupError, LockLost, RemoteError
from etcdup.ops import polling
from etcdup.ops.backups.snapshot import save_snapshot
from etcdup.ops.backups.temporary_etcd import LOOPBACK, etcd_flags, key_files, make_credentials
from etcdup.ops.world.log_files import read_log_file, unreadable_log
from etcdup.ops.world.perform import Performer
from etcdup.ops.world.world import World
from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, EtcdClient
from etcdup.remote.host import Held, Host, HostFile

# etcd reads the whole log again before it answers, which takes long if the log is large.
SERVE_TIMEOUT_S = 900.0
SILENCE_S = 30.0
ASK_S = 5.0
POLL_S = 0.2
HEARTBEAT_S = 1.0
LOST_AFTER_S = 30
# Below the ports that the kernel assigns to outgoing connections.
PORTS = range(20_000, 30_000)
ATTEMPTS = 3


class CopyNotServed(EtcdupError):
    """etcd does not serve the copy. `detail` has the end of its log. `port_taken`: it may work with other ports."""

    port_taken = False


async def read_last_entries(world: World, observed: Observed, names: Iterable[str]) -> dict[str, LastEntry]:
    """Return the last entry of each host's log. Read-only.

    A member that runs without a quorum adds no entries, so the log may be read while it runs.
    """
    seen = observed.reachable()

    async def one(name: str) -> LastEntry:
        user = layout_of(world.spec, host_of(world.spec, observed, name)).user
        return (await read_log_end(world.hosts[name], wal_path(seen[name]), user))[2]

    wanted = tuple(names)
    return dict(zip(wanted, await asyncio.gather(*map(one, wanted)), strict=True))


async def measure_copy(world: World, observed: Observed, name: str) -> int:
    """Return the bytes that a copy of that host's data needs."""
    argv = salvage_size_argv(observed.reachable()[name])
    result = await world.hosts[name].run(argv, timeout_s=SIZE_TIMEOUT_S)
    return int(result.check().stdout) * 1024


async def read_log_end(host: Host, folder: str, user: str) -> tuple[str, LogEnd, LastEntry]:
    """Return the path of the last log file, its end, and the last entry, which may be in an earlier file."""
    name, end = await _read_end(host, folder, 0, user)
    last, back = end.last, 1
    while last is None:
        last, back = (await _read_end(host, folder, back, user))[1].last, back + 1
    return f"{folder}/{name}", end, last


async def salvage(performer: Performer, step: SalvageData, observed: Observed) -> None:
    """Take the snapshot. Start again with other ports if another program uses one of the chosen ports."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await _salvage_once(performer, step, observed)
            return
        except CopyNotServed as error:
            if attempt == ATTEMPTS or not error.port_taken:
                raise


async def _salvage_once(performer: Performer, step: SalvageData, observed: Observed) -> None:
    """Copy the data, complete the log of the copy, and save a snapshot of it.

    The snapshot gets its name only when it is complete. The copy is removed in any case. If the connection to its host
    is lost, the next run removes it.
    """
    world, seen = performer.world, observed.reachable()[step.host]
    if isinstance(step, SalvageArchive):
        seen = with_archived_data(seen, step.archive)
    layout, host = layout_of(world.spec, host_of(world.spec, observed, step.host)), world.hosts[step.host]
    await performer.perform(host, copy_commands(seen, layout), step.kind)
    try:
        await _close_log(performer, host, step, seen, layout.user)
        await performer.send_request(
            step.kind, step.host, f"save a snapshot of the copy as {Path(step.snapshot).name}",
            lambda: _save_snapshot_of_copy(performer, step, seen, layout),
        )  # fmt: skip
    finally:
        # Without the lock, the copy may be one of another run, which then removes it.
        with suppress(RemoteError, LockLost):
            await performer.perform(host, clear_copy_commands(seen, layout), step.kind)


async def _read_end(host: Host, folder: str, back: int, user: str) -> tuple[str, LogEnd]:
    try:
        file = await read_log_file(host, folder, back, user)
        if file is None:
            raise ValueError("it has no entry")
        return file[0], await asyncio.to_thread(parse_log_end, file[1])
    except (ValueError, CommandFailed) as error:
        hint = (
            f"check the disk of {host.name}, which may be damaged. If a member answers, pass "
            "`--without-copy`: the cluster is then rebuilt from its snapshot, without the last entries of the log on "
            f"{host.name}. To rebuild from the disk of another member, power {host.name} off and pass `--fenced "
            f"{host.name}`. {BACKUP_HINT}"
        )
        raise unreadable_log(host, error, hint) from None


async def _close_log(performer: Performer, host: Host, step: SalvageData, seen: HostSeen, user: str) -> None:
    path, end, last = await read_log_end(host, wal_path(seen, copied=True), user)
    if last != LastEntry(step.term, step.index):
        raise EtcdupError(
            f"the log of {step.host} has changed since etcdup read it: it ends at term {last.term}, index {last.index}",
            hint="run the same command again, which reads the logs again. The cluster may have had a quorum for a "
            "moment",
        )
    if more := commit_record(end, last):
        encoded = base64.b64encode(more).decode()
        await performer.perform(host, [append_command(user, path, end.size, encoded)], step.kind)


async def _save_snapshot_of_copy(
    performer: Performer, step: SalvageData, seen: HostSeen, layout: Layout
) -> None:
    world, host = performer.world, performer.world.hosts[step.host]
    credentials = make_credentials(world.spec.name)
    await performer.write_temporary(host, _temporary_keys(layout, credentials))
    target = Path(step.snapshot)

    def report(what: str) -> None:
        performer.reporter.doing(step.host, what)

    report("waiting for etcd on the copy")
    async with _copy_server(world, step.host, seen, layout, credentials) as client:
        await save_snapshot(client, target.parent, target.name, report=report)
    report("")


def _temporary_keys(layout: Layout, credentials: Credentials) -> tuple[HostFile, ...]:
    return tuple(
        HostFile(f"{salvage_keys_path(layout)}/{name}", pem, 0o600, "etcd:etcd")
        for name, pem in key_files(credentials)
    )


@asynccontextmanager
async def _copy_server(
    world: World, name: str, seen: HostSeen, layout: Layout, credentials: Credentials
) -> AsyncIterator[EtcdClient]:
    client_port, peer_port = random.sample(PORTS, 2)
    data, keys = PurePosixPath(salvage_path(seen.data)), PurePosixPath(salvage_keys_path(layout))
    more = (f"--wal-dir={wal_path(seen, copied=True)}",) if seen.wal else ()
    etcd = etcd_flags(name, data, keys, (client_port, peer_port), "--force-new-cluster", *more)
    argv = serve_argv(seen, layout, LOST_AFTER_S, etcd)
    async with world.hosts[name].hold(argv, lock=world.held_lock.on(name)) as held:
        beating = asyncio.create_task(_send_heartbeats(held))
        ending = asyncio.create_task(_wait_for_end(held))
        client = await world.connect_temporary(name, LOOPBACK, client_port, credentials)
        try:
            await _wait_until_serving(world, name, client, ending, f"{keys}/log")
            yield client
        finally:
            await client.close()
            for task in (beating, ending):
                task.cancel()
                with suppress(asyncio.CancelledError, RemoteError):
                    await task


async def _wait_until_serving(
    world: World, name: str, client: EtcdClient, ending: "asyncio.Task[str]", log: str
) -> None:
    """Wait until etcd on the copy is the leader and has applied its whole log. Raises CopyNotServed otherwise.

    The shell that runs etcd prints a line when etcd ends. If the shell itself ends without a line, the wait ends after
    SILENCE_S.
    """
    began, why, serving = world.clock.now(), "", False

    async def serves_or_has_ended() -> bool:
        nonlocal why, serving
        world.held_lock.check()
        if ending.done() and (ending.result() or world.clock.now() >= began + SILENCE_S):
            return True
        try:
            seen = await client.status(timeout_s=ASK_S)
            serving = seen.leader_id != 0 and seen.applied_index >= seen.raft_index
            why = "it has no leader, or has not applied its whole log"
        except EtcdRpcError as error:
            why = error.message
        return serving

    await polling.wait_until(world.clock, serves_or_has_ended, SERVE_TIMEOUT_S, POLL_S)
    if serving:
        return
    why = "it has ended" if ending.done() else why
    raise _not_served(
        name, why, (await world.hosts[name].run(("tail", "-n", "200", log))).stdout.splitlines()
    )


def _not_served(name: str, why: str, lines: list[str]) -> CopyNotServed:
    port_taken = any("address already in use" in line for line in lines)
    hint = (
        f"run the same command again. `ss -tlnp` on {name} shows which program has the port. The data is not damaged"
        if port_taken
        else f"check the disk of {name}: its data may be damaged. etcdup did not change the data. {BACKUP_HINT}"
    )
    error = CopyNotServed(
        f"etcd does not serve the copy of {name}'s data: {why}",
        detail="\n".join(telling_lines(lines)),
        hint=hint,
    )
    error.port_taken = port_taken
    return error


async def _wait_for_end(held: Held) -> str:
    """Return `ended` if etcd ends by itself, and nothing if the shell ends otherwise."""
    async for line in held.lines():
        return line
    return ""


async def _send_heartbeats(held: Held) -> None:
    while True:
        with suppress(RemoteError):
            await held.send(b".")
        await asyncio.sleep(HEARTBEAT_S)
