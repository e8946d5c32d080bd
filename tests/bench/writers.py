"""`python -m tests.bench.writers PREFIX PKI REPORT NAME=ADDRESS...`: one writer for each member, until stdin ends.

It is a separate program, because gRPC's sockets belong to the network namespace of its first thread. It prints
`writing` when each member has acknowledged a write. At the end it reads all acknowledged writes back.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import count
from pathlib import Path

from etcdup.remote.etcd.errors import EtcdRpcError
from etcdup.remote.etcd.grpc_client import Credentials, Etcd, EtcdClient
from tests.bench.interruption import Attempt, Written

# The timeout of a Kubernetes client. A shorter one would give up a hanging write earlier and make gaps look smaller.
TIMEOUT_S = 10.0
# Few writes leave the CPU to the contenders. This is still enough to measure a gap of 20 ms.
PAUSE_S = 0.01
READS_AT_ONCE = 50


class Writer:
    """Writes PREFIX/NAME/0, /1, ... through one member. A failed write is not repeated.

    Each write is sent at its time, also while others hang. Otherwise one hanging write would look like a gap of all:
    etcd drops proposals that a follower forwards during a leader change, and reports it only after 7 s (rule 40).
    """

    def __init__(self, prefix: str, client: EtcdClient) -> None:
        self.client = client
        self.first = asyncio.Event()
        self._prefix = f"{prefix}/{client.name}"
        self._attempts: dict[int, Attempt] = {}

    async def write_until(self, stop: asyncio.Event) -> None:
        """Write until `stop` is set, and wait for the last write."""
        async with asyncio.TaskGroup() as group:
            for number in count():
                group.create_task(self._write(number))
                await asyncio.sleep(PAUSE_S)
                if stop.is_set():
                    return

    async def _write(self, number: int) -> None:
        began_s, error = time.monotonic(), ""
        try:
            await self.client.put(self._key(number), str(number).encode(), timeout_s=TIMEOUT_S)
            self.first.set()
        except EtcdRpcError as failed:
            error = f"{type(failed).__name__}: {failed.message}"
        self._attempts[number] = Attempt(began_s, time.monotonic(), error)

    async def read_back(self) -> Written:
        """Read each acknowledged key with a linearizable read, and return all attempts and lost keys."""
        numbers = [number for number, attempt in sorted(self._attempts.items()) if not attempt.error]
        lost: list[str] = []
        for at in range(0, len(numbers), READS_AT_ONCE):
            some = numbers[at : at + READS_AT_ONCE]
            found = await asyncio.gather(*(self._is_stored(number) for number in some))
            lost += [
                self._key(number).decode() for number, exists in zip(some, found, strict=True) if not exists
            ]
        return Written(tuple(self._attempts.values()), tuple(lost))

    async def _is_stored(self, number: int) -> bool:
        return await self.client.get(self._key(number), timeout_s=TIMEOUT_S) == str(number).encode()

    def _key(self, number: int) -> bytes:
        return f"{self._prefix}/{number}".encode()


async def write(prefix: str, credentials: Credentials, hosts: Sequence[str]) -> dict[str, Written]:
    """Write through all members, and return the results by member name. `hosts` are NAME=ADDRESS."""
    pairs = [host.split("=") for host in hosts]
    clients = [Etcd(name, f"{address}:2379", address, credentials) for name, address in pairs]
    writers = [Writer(prefix, client) for client in clients]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write_until(stop))
        await asyncio.gather(*(writer.first.wait() for writer in writers))
        print("writing", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
    written = await asyncio.gather(*(writer.read_back() for writer in writers))
    await asyncio.gather(*(client.close() for client in clients))
    return {client.name: each for client, each in zip(clients, written, strict=True)}


def main(prefix: str, pki: Path, report: Path, hosts: Sequence[str]) -> None:
    files = (pki / "ca.pem", pki / "clients/admin.pem", pki / "clients/admin-key.pem")
    credentials = Credentials(*(file.read_bytes() for file in files))
    written = asyncio.run(write(prefix, credentials, hosts))
    report.write_text(json.dumps({name: asdict(each) for name, each in written.items()}))


def read_report(report: Path) -> dict[str, Written]:
    return {
        name: Written(tuple(Attempt(*attempt) for attempt in each["attempts"]), tuple(each["lost"]))
        for name, each in json.loads(report.read_text()).items()
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
