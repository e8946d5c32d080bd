"""asyncssh, imported without its search for C libraries.

To see whether liboqs and nettle are installed it starts ldconfig, and gcc where there is one: 0.1 s of CPU before
the first connection. What these two add is not needed: post-quantum key exchange comes from cryptography
as well, and UMAC is not used beside ciphers that authenticate by themselves. Every machine offers the same then.
"""

import ctypes.util
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_search() -> Iterator[None]:
    found = ctypes.util.find_library
    ctypes.util.find_library = lambda name: None  # noqa: ARG005
    try:
        yield
    finally:
        ctypes.util.find_library = found


with _no_search():
    import asyncssh as asyncssh
