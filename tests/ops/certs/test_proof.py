"""The error for ports that do not serve the new certificates."""

from datetime import UTC, datetime

import pytest

from etcdup.errors import EtcdupError
from etcdup.ops.certs.proof import ServedCert, raise_unproved
from tests.support.texts import Texts

NEW = ServedCert("infra1", 2379, "1f", datetime(2027, 1, 1, tzinfo=UTC))
OLD = ServedCert(
    "infra2",
    2380,
    "1e",
    datetime(2026, 1, 1, tzinfo=UTC),
    "serves another certificate than the new one",
)
SILENT = ServedCert("infra3", 2379, why="no TLS handshake: Connection refused")


def test_correct_ports_raise_no_error() -> None:
    raise_unproved((NEW, NEW))


def test_one_port_is_the_message(texts: Texts) -> None:
    with pytest.raises(EtcdupError) as raised:
        raise_unproved((NEW, OLD))
    texts(raised.value)


def test_several_ports_are_named_in_the_detail(texts: Texts) -> None:
    with pytest.raises(EtcdupError) as raised:
        raise_unproved((NEW, OLD, SILENT))
    texts(raised.value)
    assert raised.value.detail.splitlines()[1] == "infra3:2379: no TLS handshake: Connection refused"
