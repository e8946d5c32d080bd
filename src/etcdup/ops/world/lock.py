"""The lock: a flock on every reachable host, which a running etcdup holds through its SSH connection.

It does not depend on synchronised clocks, and it is released by itself. If etcdup dies, its connection ends, the remote
shell reads the end of its input, and the kernel releases the lock. If etcdup hangs, for example on a suspended laptop,
it sends no heartbeat. The remote shell then releases the lock after LOST_AFTER_S.
"""

import asyncio
import getpass
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime

from etcdup.core.spec.layout import Layout, layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.errors import LockedError, RemoteError
from etcdup.remote.host import Held, Host

HEARTBEAT_S = 5.0
LOST_AFTER_S = 30

# flock is a part of util-linux, which systemd requires. `head -c 1` reads exactly one byte of the heartbeat.
LOCK = r"""
mkdir -p "${1%/*}" && exec 9>>"$1" || exit 1
if ! flock -n 9; then echo held; cat "$1"; exit 0; fi
printf '%s\n' "$2" >"$1"
echo locked
while [ "$(timeout "$3" head -c 1)" = . ]; do :; done
: >"$1"
"""


def holder(verb: str) -> str:
    """Return the owner of the lock, as another operator reads it when the lock is refused."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()}), `etcdup {verb}` since {since}"


@asynccontextmanager
async def cluster_lock(
    spec: Spec, hosts: Mapping[str, Host], who: str, leaving: Mapping[str, HostSpec] | None = None
) -> AsyncIterator[None]:
    """Hold the lock on all given hosts during the block.

    `leaving` are hosts that cluster.yaml does not name. Another operator may manage them with another cluster.yaml.
    Raises LockedError if another etcdup holds the lock on one of the hosts. All locks are then released.
    """
    async with AsyncExitStack() as stack:
        specs = {host.name: host for host in spec.hosts} | dict(leaving or {})

        async def take(names: Sequence[str]) -> list[Held]:
            entering = (_host_lock(layout_of(spec, specs[name]), hosts[name], who) for name in names)
            taking = [asyncio.ensure_future(stack.enter_async_context(each)) for each in entering]
            # All attempts must end before the first refusal is raised, so that the stack releases every lock.
            await asyncio.gather(*taking, return_exceptions=True)
            return [each.result() for each in taking]

        # The alphabetically first host is locked before the others, so that two operators cannot block each other.
        names = sorted(hosts)
        taken = [*await take(names[:1]), *await take(names[1:])]
        beating = asyncio.create_task(_send_heartbeats(taken))
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating


@asynccontextmanager
async def _host_lock(layout: Layout, host: Host, who: str) -> AsyncIterator[Held]:
    path = f"{layout.run}/lock"
    async with host.hold(["sh", "-c", LOCK, "etcdup-lock", path, who, str(LOST_AFTER_S)]) as held:
        lines = [line async for line in _read_lines(held, 2)]
        if lines[:1] == ["held"]:
            owner = lines[1] if len(lines) > 1 and lines[1] else "its owner is not recorded yet"
            raise LockedError(
                f"{host.name} is locked by another etcdup: {owner}",
                hint="wait until that etcdup ends, then run the same command again. If its machine is down, "
                f"{host.name} releases the lock within {LOST_AFTER_S} s",
            )
        if lines[:1] != ["locked"]:
            raise RemoteError(host.name, f"{host.name}: cannot take the lock", detail="\n".join(lines))
        yield held


async def _read_lines(held: Held, count: int) -> AsyncIterator[str]:
    """Yield up to `count` lines. No line follows `locked`."""
    async for line in held.lines():
        yield line
        count -= 1
        if count == 0 or line == "locked":
            return


async def _send_heartbeats(taken: list[Held]) -> None:
    while True:
        for held in taken:
            with suppress(RemoteError):
                await held.send(b".")
        await asyncio.sleep(HEARTBEAT_S)
