"""A network namespace for each lab, with a bridge and no route out: no packet leaves this computer."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab.shell import run

BRIDGE = "br0"
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """The network namespace `name` of `ip netns`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns", name)

    def create(self, address: str) -> None:
        """Create the namespace, and its bridge with the operator's address. All machines are ports of the bridge."""
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        self.ip("address", "add", f"{address}/24", "dev", BRIDGE)
        self.ip("link", "set", BRIDGE, "up")

    def delete(self) -> None:
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    def ip(self, *arguments: str, check: bool = True) -> str:
        return run(["ip", "-n", self.name, *arguments], check=check).stdout

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Enter the namespace with this thread and its new processes. Sockets stay where they were created."""
        with Path("/proc/thread-self/ns/net").open() as outside, self.path.open() as within:
            _setns(within.fileno())
            try:
                yield
            finally:
                _setns(outside.fileno())


def _setns(descriptor: int) -> None:
    """Change the network namespace of this thread only. Python has os.setns from 3.12 on."""
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"setns: {os.strerror(errno)}")
