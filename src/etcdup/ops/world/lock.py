"""The lock of a cluster: a flock on every reachable host, which a running etcdup holds through its SSH connection.

It does not depend on synchronised clocks, and it is released by itself. If etcdup dies, its connection ends, the remote
shell reads the end of its input, and the kernel releases the lock. If etcdup hangs, for example on a suspended laptop,
it sends no heartbeat. The remote shell then releases the lock after LOST_AFTER_S.

The lock is also a fence. Each command that changes a host checks on the host, in the same shell, that this run still
holds the lock (remote/lock_scripts.py). A request to etcd is sent only after a majority of the hosts has confirmed
that. And a run that sent no heartbeat for STALE_AFTER_S stops before its next command.
"""

import asyncio
import getpass
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from etcdup.core.members.quorum import quorum_of
from etcdup.core.spec.layout import layout_of
from etcdup.core.spec.model import HostSpec, Spec
from etcdup.errors import LockedError, LockLost, NotLocked, RefusedError, RemoteError
from etcdup.remote.host import Held, Host, HostCommand, HostLock
from etcdup.remote.lock_scripts import LOST_AFTER_S, lock_argv, show_holder_argv, shown_line

HEARTBEAT_S = 5.0
STALE_AFTER_S = 20.0
# A command that changes nothing: the host checks the lock before it.
CONFIRM = HostCommand(("true",), timeout_s=10.0)

BootTime = Callable[[], float]


def boot_time() -> float:
    """Return the seconds since this machine booted, with the time for which it was suspended."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def holder(verb: str) -> str:
    """Return the owner of the lock, as another operator reads it when the lock is refused.

    The last word is random: it distinguishes this run from every other one.
    """
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{operator()} (pid {os.getpid()}), `etcdup {verb}` since {since}, run {secrets.token_hex(8)}"


def operator() -> str:
    """Return who runs etcdup, and on which machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@dataclass
class HeldLock:
    """The lock on one host. `lost` says why this run does not hold it any more.

    `held` is None for a second name of a machine that this run has locked under another name.
    """

    name: str
    lock: HostLock
    held: Held | None
    boot_time: BootTime
    beat_at: float
    lost: str = ""

    def note_missed_heartbeats(self) -> None:
        """Note that this run sent no heartbeat for so long that the host may have released the lock."""
        gap_s = self.boot_time() - self.beat_at
        if self.held is not None and gap_s > STALE_AFTER_S:
            self.lost = self.lost or f"this run sent no heartbeat for {gap_s:.0f} s"

    async def send_heartbeats(self) -> None:
        while self.held is not None and not self.lost:
            self.note_missed_heartbeats()
            now = self.boot_time()
            try:
                await self.held.send(b".")
                self.beat_at = now
            except RemoteError:
                self._note_end()
            await asyncio.sleep(HEARTBEAT_S)

    async def wait_for_end(self) -> None:
        """Note the end of the shell that holds the lock. It writes nothing after it has taken the lock."""
        assert self.held is not None
        with suppress(RemoteError):
            async for _ in self.held.lines():
                pass
        self._note_end()

    def _note_end(self) -> None:
        self.note_missed_heartbeats()
        self.lost = self.lost or f"the connection to {self.name} that held it has ended"


class ClusterLock:
    """The lock as one run holds it. Each change of a host or of the member list needs it."""

    def __init__(self, locks: Mapping[str, HeldLock], hosts: Mapping[str, Host]) -> None:
        self._locks = locks
        self._hosts = hosts

    def check(self) -> None:
        """Raise LockLost if this run knows that it does not hold a lock any more. It contacts no host."""
        for each in self._locks.values():
            each.note_missed_heartbeats()
        if lost := [each for each in self._locks.values() if each.lost]:
            raise _lock_lost([each.name for each in lost], lost[0].lost)

    def on(self, name: str) -> HostLock:
        """Return the lock of a host, for the command that changes it. Raises LockLost."""
        self.check()
        if name not in self._locks:
            raise LockLost(f"{name} is not locked: this run found it after it had locked the other hosts")
        return self._locks[name].lock

    def lost_on(self, error: NotLocked) -> LockLost:
        """Return the error for a command that a host refused because this run does not hold its lock."""
        own = self._locks[error.host]
        own.note_missed_heartbeats()
        other = f"now this run holds it: {error.holder}" if error.holder else f"{own.name} has released it"
        own.lost = own.lost or other
        return _lock_lost([own.name], own.lost)

    async def confirm(self) -> None:
        """Raise LockLost unless a majority of the hosts confirms that this run holds their lock.

        This is for changes that no shell on a host can check: requests to etcd, and a new CA.
        """
        self.check()
        confirmed = await asyncio.gather(*map(self._is_confirmed, self._locks.values()))
        self.check()
        if sum(confirmed) < quorum_of(len(confirmed)):
            silent = [
                each.name for each, held in zip(self._locks.values(), confirmed, strict=True) if not held
            ]
            raise _lock_lost(silent, "these hosts do not confirm it")

    async def _is_confirmed(self, own: HeldLock) -> bool:
        try:
            (result,) = await self._hosts[own.name].run_all([CONFIRM], lock=own.lock)
            result.check()
        except NotLocked as error:
            self.lost_on(error)
        except RemoteError:
            return False
        return not own.lost


def _lock_lost(names: Iterable[str], why: str) -> LockLost:
    return LockLost(f"the lock on {', '.join(sorted(names))} was lost: {why}")


async def read_lock_holder(spec: Spec, hosts: Mapping[str, Host]) -> str:
    """Return which run holds the lock of a host of cluster.yaml; empty if none does. No lock is taken."""
    names = [host.name for host in spec.hosts if host.name in hosts]
    lines = await asyncio.gather(*(_read_holder(spec, name, hosts[name]) for name in names))
    return next(filter(None, lines), "").partition(", run ")[0]


async def _read_holder(spec: Spec, name: str, host: Host) -> str:
    try:
        result = await host.run(show_holder_argv(_lock_path(spec.host(name), spec)))
    except RemoteError:
        return ""
    return shown_line(result.stdout.partition("\n")[0]) if result.status == 0 else ""


def _lock_path(host: HostSpec, spec: Spec) -> str:
    return f"{layout_of(spec, host).run}/lock"


@asynccontextmanager
async def cluster_lock(
    spec: Spec,
    hosts: Mapping[str, Host],
    who: str,
    leaving: Mapping[str, HostSpec] | None = None,
    *,
    boot_time: BootTime = boot_time,
) -> AsyncIterator[ClusterLock]:
    """Hold the lock on all given hosts during the block.

    `who` is from `holder`. `leaving` are hosts that cluster.yaml does not name. Another operator may manage them with
    another cluster.yaml. Raises LockedError if another etcdup holds the lock on one of the hosts. All locks are then
    released.
    """
    async with AsyncExitStack() as stack:
        specs = {host.name: host for host in spec.hosts} | dict(leaving or {})
        locks: dict[str, HeldLock] = {}

        async def take(names: Sequence[str]) -> None:
            entering = (
                _host_lock(HostLock(_lock_path(specs[name], spec), who), hosts[name], boot_time)
                for name in names
            )
            taking = [asyncio.ensure_future(stack.enter_async_context(each)) for each in entering]
            # All attempts must end before the first refusal is raised, so that the stack releases every lock.
            await asyncio.gather(*taking, return_exceptions=True)
            locks.update({each.result().name: each.result() for each in taking})

        # The alphabetically first host is locked before the others, so that two operators cannot block each other.
        own = sorted(host.name for host in spec.hosts if host.name in hosts)
        await take(own[:1])
        await take(own[1:])
        _refuse_one_machine(locks)
        await take(sorted(hosts.keys() & specs.keys() - set(own)))
        yield ClusterLock(locks, hosts)


def _refuse_one_machine(locks: Mapping[str, HeldLock]) -> None:
    """Refuse two hosts of cluster.yaml that are one machine: they would overwrite each other's files."""
    for each in locks.values():
        if each.held is None:
            raise RefusedError(
                f"{each.name} is the same machine as another host of cluster.yaml",
                hint=f"correct the address of {each.name} in cluster.yaml, then run the same command again",
            )


@asynccontextmanager
async def _host_lock(lock: HostLock, host: Host, boot_time: BootTime) -> AsyncIterator[HeldLock]:
    async with host.hold(lock_argv(lock)) as held:
        taken = HeldLock(host.name, lock, held, boot_time, boot_time())
        lines = [line async for line in _read_lines(held, 2)]
        if lines == ["held", lock.line]:
            # This is another name of a machine that this run has locked.
            taken.held = None
            yield taken
            return
        if lines[:1] != ["locked"]:
            raise _not_taken(host.name, lines)
        async with _background(taken.send_heartbeats(), taken.wait_for_end()):
            yield taken


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do this work during the block."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _not_taken(name: str, lines: Sequence[str]) -> LockedError | RemoteError:
    match lines[:1]:
        case ["held"]:
            owner = shown_line("".join(lines[1:2])) or "its owner is not recorded yet"
            return LockedError(
                f"{name} is locked by another etcdup: {owner}",
                hint="wait until that etcdup ends, then run the same command again. If its machine is down, "
                f"{name} releases the lock within {LOST_AFTER_S} s",
            )
        case ["busy"]:
            return LockedError(
                f"{name} still runs a command of an etcdup that has ended",
                hint=f"wait until that command ends, then run the same command again. `ps -ef` on {name} shows it",
            )
        case ["no-flock"]:
            hint = f"install util-linux on {name}, which contains flock"
            return RemoteError(name, f"{name}: cannot take the lock: flock is not installed", hint=hint)
    return RemoteError(name, f"{name}: cannot take the lock", detail="\n".join(map(shown_line, lines)))


async def _read_lines(held: Held, count: int) -> AsyncIterator[str]:
    """Yield up to `count` lines. No line follows `locked`."""
    async for line in held.lines():
        yield line
        count -= 1
        if count == 0 or line == "locked":
            return
