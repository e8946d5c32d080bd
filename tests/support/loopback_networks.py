"""Loopback networks that clusters have to themselves: those of other test processes live beside them."""

import contextlib
import socket
from collections.abc import Iterator

# Below are the demos of this machine's users, above are addresses that tests want nobody at.
NETWORKS = range(32, 250)
CLAIM_PORT = 2379


class NoNetwork(Exception):
    """All of them are taken."""


def claim_network() -> tuple[int, socket.socket]:
    """The x of a 127.77.x.0/24, and what holds it: whoever listens at its .254 has it."""
    for network in NETWORKS:
        claim = socket.socket()
        try:
            claim.bind((f"127.77.{network}.254", CLAIM_PORT))
            claim.listen()
        except OSError:
            claim.close()
        else:
            return network, claim
    raise NoNetwork("every network of 127.77.0.0/16 is taken")


@contextlib.contextmanager
def own_network() -> Iterator[int]:
    """The x of a 127.77.x.0/24 that nobody else uses in this block."""
    network, claim = claim_network()
    with claim:
        yield network
