"""How a failed login becomes a part of the observation."""

import pytest

from etcdup.errors import ConnectFailed, HostKeyChanged, HostKeyUnknown, UnreachableError
from etcdup.ops.world.open import as_unreachable


@pytest.mark.parametrize(
    ("kind", "is_unknown"), [(HostKeyUnknown, True), (HostKeyChanged, False), (ConnectFailed, False)]
)
def test_an_unknown_host_key_is_observed(kind: type[UnreachableError], is_unknown: bool) -> None:
    seen = as_unreachable("infra2", kind("infra2", "infra2: no login", hint="do this"))
    assert (seen.host, seen.why, seen.hint) == ("infra2", "no login", "do this")
    assert seen.has_unknown_key is is_unknown
