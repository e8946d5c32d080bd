"""Loopback networks, each for one cluster, also across test processes."""

import contextlib
import socket
from collections.abc import Iterator

# Lower networks are for demos of this machine's users. Higher ones have addresses on which no program must listen.
NETWORKS = range(32, 250)
CLAIM_PORT = 2379


class NoNetwork(Exception):
    """All networks are in use."""


def claim_network() -> tuple[int, socket.socket]:
    """Return the x of a free network 127.77.x.0/24, and the socket on its .254 that claims it."""
    for network in NETWORKS:
        claim = socket.socket()
        try:
            claim.bind((f"127.77.{network}.254", CLAIM_PORT))
            claim.listen()
        except OSError:
            claim.close()
        else:
            return network, claim
    raise NoNetwork("all networks of 127.77.0.0/16 are in use")


@contextlib.contextmanager
def own_network() -> Iterator[int]:
    """Yield the x of a network 127.77.x.0/24 that only this block uses."""
    network, claim = claim_network()
    with claim:
        yield network
