"""One heap for all threads of a backup.

glibc gives each thread a heap of its own, and a heap keeps memory that other threads could use. In a backup, gRPC, the
S3 client and hashing have threads: with one heap, it needs about 20 MiB less (mallopt(3), M_ARENA_MAX).
"""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8


def use_one_heap() -> None:
    """Limit the heaps of this process to one, before its threads start. Another libc than glibc is left as it is."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
