"""The alarms in a database file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.backups.rewind import content_of, without_alarms
from etcdup.core.etcd.alarms import alarm_text, read_alarms
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.bbolt_writer import BoltWriter
from etcdup.remote.etcd.pb import rpc_pb2
from tests.support.bolt_files import PAGE, History, opened
from tests.support.texts import Texts

KIND = rpc_pb2.AlarmType


def with_alarms(rows: list[bytes]) -> Bolt:
    """Return a database with these keys in its bucket of alarms."""
    writer = BoltWriter(PAGE)
    source = opened(History().database())
    pages = [*writer.add_bucket(b"alarm", 0, iter((row, b"") for row in sorted(set(rows))))]
    pages += [
        page
        for name, number, items in content_of(source)
        if name != b"alarm"
        for page in writer.add_bucket(name, number, items)
    ]
    return opened(writer.head() + b"".join(pages))


@given(st.sets(st.tuples(st.sampled_from(KIND.keys()[1:]), st.integers(0, 2**64 - 1)), max_size=64))
def test_alarms_are_those_that_etcd_wrote(raised: set[tuple[str, int]]) -> None:
    rows = [
        rpc_pb2.AlarmMember(memberID=member, alarm=KIND.Value(kind)).SerializeToString()
        for kind, member in raised
    ]
    bolt = with_alarms(rows)
    expected = sorted(alarm_text(kind, member) for kind, member in raised)
    assert sorted(read_alarms(bolt)) == expected
    writer = BoltWriter(PAGE)
    copy = [page for each in without_alarms(content_of(bolt)) for page in writer.add_bucket(*each)]
    assert read_alarms(opened(writer.head() + b"".join(copy))) == ()


def test_a_damaged_alarm_is_an_error(texts: Texts) -> None:
    with pytest.raises(ValueError) as caught:
        read_alarms(with_alarms([b"\x0a\xff\x01"]))
    texts(caught.value)
    with pytest.raises(ValueError) as caught:
        read_alarms(with_alarms([b"\x12\x01a"]))
    texts(caught.value)
