"""`python -m tests.bench.store_alone URL BYTES`: puts that much into an S3, out of memory, and reads it back.

By the same door as a backup, with no member and no checks: what is left is what the store itself takes.
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
    place = f"s3://{BUCKET}/alone"
    store = open_store(BackupSpec(to=(place,), endpoint=url), place, Path())
    await store.put(NAME, content(size))
    async for _ in store.read(NAME):
        pass
    await store.delete(NAME)
    os._exit(0)  # as etcdup ends: the library's threads may bring down a Python that takes itself apart


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
