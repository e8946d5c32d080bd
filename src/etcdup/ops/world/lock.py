"""One operator at a time: a flock on every reachable host, held through the open connection.

It needs no clocks to agree and frees itself: when the holder dies its connection ends, the remote shell reads
the end of its input, and the kernel drops the lock. A holder that hangs without dying (a closed laptop) stops
sending its heartbeat and loses the lock after LOST_AFTER_S.
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

# flock is util-linux's, which systemd itself needs. `head -c 1` reads no more than the byte it is asked for.
LOCK = r"""
mkdir -p "${1%/*}" && exec 9>>"$1" || exit 1
if ! flock -n 9; then echo held; cat "$1"; exit 0; fi
printf '%s\n' "$2" >"$1"
echo locked
while [ "$(timeout "$3" head -c 1)" = . ]; do :; done
: >"$1"
"""


def holder(verb: str) -> str:
    """Who we are, in the words that a refused operator reads."""
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{getpass.getuser()}@{socket.gethostname()} (pid {os.getpid()}), `etcdup {verb}` since {since}"


@asynccontextmanager
async def cluster_lock(
    spec: Spec, hosts: Mapping[str, Host], who: str, leaving: Mapping[str, HostSpec] | None = None
) -> AsyncIterator[None]:
    """Holds the lock on all given hosts for the length of the block. `leaving` are those that cluster.yaml does
    not name: an operator with another file may be at work on them.

    Raises LockedError where somebody else holds it on any of them; nothing is then held by us.
    """
    async with AsyncExitStack() as stack:
        places = {host.name: host for host in spec.hosts} | dict(leaving or {})

        async def take(names: Sequence[str]) -> list[Held]:
            entering = (_host_lock(layout_of(spec, places[name]), hosts[name], who) for name in names)
            taking = [asyncio.ensure_future(stack.enter_async_context(each)) for each in entering]
            await asyncio.gather(*taking, return_exceptions=True)  # what is taken is known before a refusal
            return [each.result() for each in taking]

        # The first in the alphabet says which of two operators goes on; its word is waited for.
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
        said = [line async for line in _read_lines(held, 2)]
        if said[:1] == ["held"]:
            other = said[1] if len(said) > 1 and said[1] else "somebody whose name is not written yet"
            raise LockedError(
                f"another etcdup is at work on {host.name}: {other}",
                hint="wait until it is done; if its machine is gone, the lock frees itself within "
                f"{LOST_AFTER_S} s",
            )
        if said[:1] != ["locked"]:
            raise RemoteError(
                host.name, f"the lock could not be taken on {host.name}", detail="\n".join(said)
            )
        yield held


async def _read_lines(held: Held, count: int) -> AsyncIterator[str]:
    """Up to `count` lines; `locked` is the last one there is."""
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
