"""`python -m tests.bench.store_alone URL BYTES`: upload that much from memory to S3, and read it back.

It uses the same store class as a backup, without a member and checks. So it measures the S3 server itself.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from etcdup.core.spec.model import BackupSpec
from etcdup.ops.backups.open_store import open_store
from tests.support.s3 import BUCKET

PIECE_BYTES = 1 << 20
NAME = "alone"


async def content(size: int) -> AsyncIterator[bytes]:
    piece = os.urandom(PIECE_BYTES)
    for _ in range(size // PIECE_BYTES):
        yield piece


async def main(url: str, size: int) -> None:
    destination = f"s3://{BUCKET}/alone"
    store = open_store(BackupSpec(to=(destination,), endpoint=url), destination, Path())
    await store.put(NAME, content(size))
    async for _ in store.read(NAME):
        pass
    await store.delete(NAME)
    os._exit(0)  # etcdup ends so too: the library's threads can crash Python while it shuts down


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
