"""asyncssh, imported without its search for C libraries.

asyncssh starts ldconfig, and gcc if it is installed, to find liboqs and nettle. That takes 0.1 s of CPU time before the
first connection. The two libraries are not needed: cryptography has the post-quantum key exchange too, and UMAC is not
used with ciphers that authenticate by themselves. So each machine offers the same algorithms.
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
