"""How the kernel shows the address that etcd listens on."""

import pytest

from etcdup.core.host.port_faults import listen_pattern
from etcdup.core.spec.model import HostSpec


@pytest.mark.parametrize(
    ("address", "listen", "pattern"),
    [
        ("10.0.0.1", None, "10.0.0.1"),
        ("infra1.example.com", "10.0.0.1", "10.0.0.1"),
        ("fd00::1", None, "fd000000000000000000000000000001"),
        ("127.0.0.3", None, ""),
        ("10.0.0.1", "::", ""),
        ("10.0.0.1", "0.0.0.0", ""),
        ("left.example.com", None, ""),
    ],
)
def test_the_pattern_of_a_listen_address(address: str, listen: str | None, pattern: str) -> None:
    assert listen_pattern(HostSpec(name="infra1", address=address, listen_address=listen)) == pattern
