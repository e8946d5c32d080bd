"""`python -m tests.bench.filler PKI ADDRESS BYTES`: write that much random data to a member.

It is a separate program, because gRPC's sockets belong to the network namespace of its first thread.
"""

import asyncio
import os
import sys
from pathlib import Path

from etcdup.remote.etcd.grpc_client import Credentials, Etcd

# The size of a large Kubernetes object. 1 GiB needs more than 10000 of them, so raft's log is truncated as usual.
VALUE_BYTES = 64 << 10
AT_ONCE = 64
TIMEOUT_S = 60.0


async def fill(client: Etcd, size: int) -> None:
    numbers = iter(range(-(-size // VALUE_BYTES)))

    async def write() -> None:
        for number in numbers:
            await client.put(f"fill/{number}".encode(), os.urandom(VALUE_BYTES), timeout_s=TIMEOUT_S)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(write())


async def main(pki: Path, address: str, size: int) -> None:
    files = (pki / "ca.pem", pki / "clients/admin.pem", pki / "clients/admin-key.pem")
    client = Etcd("filled", f"{address}:2379", address, Credentials(*(file.read_bytes() for file in files)))
    try:
        await fill(client, size)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
