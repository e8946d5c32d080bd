"""A writer and a reader on each member: `python -m tests.lab.load_clients PKI RECORDS KEYS`.

Commands come on stdin, one a line: `add NAME ADDRESS PORT`, `remove NAME`, `stop`. SIGTERM and the end of stdin also
mean `stop`. At the end each register is read once through each member.
"""

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from etcdup.remote.etcd.errors import EtcdRpcError, LearnerUnsupported
from etcdup.remote.etcd.grpc_client import Credentials, Etcd
from tests.lab.load_records import Event, EventKind, Keys, Kind, Record, Request, to_line
from tests.support.history import Outcome

TIMEOUT_S = 3.0
# Six clients send about 300 requests a second. Most of two CPUs is left to etcd and the operation under test.
PAUSE_S = 0.015
PAUSE_AFTER_FAILURE_S = 0.05
# A leader that transfers its leadership drops proposals without an answer (rule 39). A new client replaces one that
# waits for such an answer. Otherwise a gap would show how long clients wait, and not how long the cluster accepts no
# write.
LATE_S = 0.25
TICK_S = 0.02
DISK_TICK_S = 0.05
STALL_S = 0.05

# gRPC reports this if it had no connection for the request.
NEVER_SENT = "failed to connect to all addresses"

Recorder = Callable[[Record], None]
Work = Callable[["Client"], Coroutine[None, None, bool]]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Client:
    """One connection to one member. It sends one request after the other, and never repeats one."""

    member: str
    name: str
    etcd: Etcd
    keys: Keys
    record: Recorder

    async def write(self) -> bool:
        return await self._put("write", random.choice(self.keys.registers))

    async def append(self) -> bool:
        return await self._put("append", f"{self.keys.log}{next(_numbers)}")

    async def _put(self, kind: Kind, key: str) -> bool:
        value = f"{self.name}:{next(_numbers)}"

        async def put() -> str:
            await self.etcd.put(key.encode(), value.encode(), timeout_s=TIMEOUT_S)
            return value

        return await self._send_request(kind, key, value, put)

    async def read(self, key: str) -> bool:
        async def get() -> str | None:
            found = await self.etcd.get(key.encode(), timeout_s=TIMEOUT_S)
            return found.decode() if found is not None else None

        return await self._send_request("read", key, None, get)

    async def _send_request(
        self, kind: Kind, key: str, value: str | None, call: Callable[[], Awaitable[str | None]]
    ) -> bool:
        """Record the request, and return whether it succeeded."""
        outcome: Outcome = "ok"
        why = ""
        invoked_ns = time.monotonic_ns()
        try:
            value = await call()
        except EtcdRpcError as error:
            outcome, why = _outcome(error), f"{type(error).__name__}: {error.detail or error.message}"
        returned_ns = time.monotonic_ns()
        self.record(Request(kind, key, self.member, self.name, invoked_ns, returned_ns, value, outcome, why))
        return not why


def _outcome(error: EtcdRpcError) -> Outcome:
    """Return "failed" only if the request was never sent, or was refused before raft (rule 72)."""
    return "failed" if NEVER_SENT in error.detail or isinstance(error, LearnerUnsupported) else "unknown"


async def write_or_append(client: Client) -> bool:
    return await random.choice((client.write, client.append))()


async def read_any(client: Client) -> bool:
    return await client.read(random.choice(client.keys.registers))


@dataclass
class Member:
    """A member and the tasks of its clients."""

    name: str
    target: str
    address: str
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Load:
    """The members that are under load now."""

    def __init__(self, credentials: Credentials, keys: Keys, record: Recorder) -> None:
        self._credentials = credentials
        self._keys = keys
        self._record = record
        self._members: dict[str, Member] = {}

    def add(self, name: str, address: str, port: str) -> None:
        self._event("added", name)
        member = self._members[name] = Member(name, f"{address}:{port}", address)
        for role, work in (("writer", write_or_append), ("reader", read_any)):
            member.tasks.append(asyncio.create_task(self._run(member, role, work)))

    async def remove(self, name: str) -> None:
        """Wait until the last requests to the member have ended."""
        member = self._members.pop(name)
        member.stopping.set()
        await asyncio.gather(*member.tasks)
        self._event("removed", name)

    async def stop(self) -> None:
        self._event("stopped", "")
        for member in self._members.values():
            member.stopping.set()
        await asyncio.gather(*(task for member in self._members.values() for task in member.tasks))
        await asyncio.gather(*(self._read_all(member) for member in self._members.values()))

    async def _run(self, member: Member, role: str, work: Work) -> None:
        client = self._client(member, role)
        waiting: set[asyncio.Task[bool]] = set()
        while not member.stopping.is_set():
            request = asyncio.create_task(work(client))
            done, late = await asyncio.wait({request}, timeout=LATE_S)
            waiting = {each for each in waiting | late if not each.done()}
            answered = bool(done) and request.result()
            if late:
                client = replace(client, name=f"{member.name}/{role}~{next(_numbers)}")
            await asyncio.sleep(PAUSE_S if answered else PAUSE_AFTER_FAILURE_S)
        await asyncio.gather(*waiting)
        await client.etcd.close()

    async def _read_all(self, member: Member) -> None:
        client = self._client(member, "last reader")
        for key in self._keys.registers:
            await client.read(key)
        await client.etcd.close()

    def _client(self, member: Member, role: str) -> Client:
        etcd = Etcd(member.name, member.target, member.address, self._credentials)
        return Client(member.name, f"{member.name}/{role}", etcd, self._keys, self._record)

    def _event(self, what: EventKind, member: str) -> None:
        self._record(Event(what, member, time.monotonic_ns()))

    async def record_stalls(self) -> None:
        """Record each time in which this process got no CPU: a gap at that time is not the cluster's."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            late = time.monotonic() - before - TICK_S
            if late > STALL_S:
                self._record(Event("stalled", "", time.monotonic_ns(), late))

    async def record_disk_stalls(self, folder: Path) -> None:
        """Record each small write that the disk needs long for: the members' logs are on the same disk."""
        with NamedTemporaryFile(dir=folder) as file:
            while True:
                seconds = await asyncio.to_thread(_write_to_disk, file.fileno())
                if seconds > STALL_S:
                    self._record(Event("disk stalled", "", time.monotonic_ns(), seconds))
                await asyncio.sleep(DISK_TICK_S)


def _write_to_disk(file: int) -> float:
    """Write like a member's log, and return the time in seconds."""
    before = time.monotonic()
    os.write(file, bytes(2048))
    os.fdatasync(file)
    return time.monotonic() - before


async def run_commands(load: Load, commands: asyncio.StreamReader) -> None:
    while line := await commands.readline():
        match line.decode().split():
            case ["add", name, address, port]:
                load.add(name, address, port)
            case ["remove", name]:
                await load.remove(name)
            case ["stop"]:
                return
            case words:
                raise ValueError(f"unknown command: {words}")


async def main(pki: Path, records: Path, folder: str) -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, commands.feed_eof)
    with records.open("a") as file:
        load = Load(admin(pki), Keys(folder), lambda record: _append(file, record))
        watches = [load.record_stalls(), load.record_disk_stalls(records.parent)]
        stalls = [asyncio.create_task(watch) for watch in watches]
        await run_commands(load, commands)
        for stall in stalls:
            stall.cancel()
        await load.stop()


def admin(pki: Path) -> Credentials:
    """Return the operator's credentials in a managed PKI."""
    own = pki / "clients"
    return Credentials(
        ca=(pki / "ca.pem").read_bytes(),
        cert=(own / "admin.pem").read_bytes(),
        key=(own / "admin-key.pem").read_bytes(),
    )


def _append(file: IO[str], record: Record) -> None:
    file.write(to_line(record))
    file.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
