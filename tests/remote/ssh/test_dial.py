"""How far a host is, as the kernel has measured it on the way to it."""

import math
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from etcdup.remote.ssh.dial import SshConnection

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the round trip of a connection")


class Connection:
    """As much of an SSH connection as is asked how far it goes."""

    def __init__(self, carrier: socket.socket | None) -> None:
        self._carrier = carrier

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self._carrier


@pytest.fixture
def carrier() -> Iterator[socket.socket]:
    """A TCP connection within this machine, which has carried a byte each way."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
        with closing(near), closing(far):
            for one, other in ((near, far), (far, near)):
                one.sendall(b".")
                assert other.recv(1) == b"."
            yield near


def make_connection(carrier: socket.socket | None, *jumps: Any) -> SshConnection:
    connection: Any = Connection(carrier)
    return SshConnection(connection, jumps, "root", "root@here:22")


@LINUX
def test_a_round_trip_within_this_machine_is_short(carrier: socket.socket) -> None:
    assert 0 < make_connection(carrier).round_trip_s < 0.5


def test_what_lies_behind_a_jump_host_is_far(carrier: socket.socket) -> None:
    assert make_connection(carrier, Connection(carrier)).round_trip_s == math.inf


def test_what_is_reached_through_a_command_is_far() -> None:
    assert make_connection(None).round_trip_s == math.inf
