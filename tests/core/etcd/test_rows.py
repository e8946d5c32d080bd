"""A row is read as protobuf reads it, and a damaged row is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.rows import Change, is_deletion, read_change, read_revision, read_value, revision_key
from etcdup.remote.etcd.pb import kv_pb2
from tests.support.texts import Texts

NUMBERS = st.one_of(st.integers(0, 300), st.integers(0, (1 << 63) - 1))
MESSAGES = st.builds(
    kv_pb2.KeyValue,
    key=st.one_of(st.binary(max_size=40), st.binary(min_size=120, max_size=300)),
    create_revision=NUMBERS,
    mod_revision=NUMBERS,
    version=NUMBERS,
    value=st.one_of(st.binary(max_size=300), st.integers(0, 40_000).map(bytes)),
    lease=NUMBERS,
)


@given(MESSAGES, st.binary(max_size=5), st.binary(max_size=5))
def test_a_row_is_read_as_protobuf_reads_it(message: kv_pb2.KeyValue, before: bytes, after: bytes) -> None:
    content = message.SerializeToString()
    page = before + content + after
    change = read_change(page, len(before), len(before) + len(content))
    assert change == Change(message.key, message.version == 1, message.lease, len(message.value))
    assert read_value(content) == message.value


@given(MESSAGES)
def test_fields_in_another_order_and_unknown_fields_are_accepted(message: kv_pb2.KeyValue) -> None:
    content = message.SerializeToString()
    value = kv_pb2.KeyValue(value=message.value).SerializeToString()
    other = value + b"\x78\x01" + content
    assert read_change(other, 0, len(other)) == read_change(content, 0, len(content))


@given(st.binary(max_size=60), st.integers(0, 20))
def test_any_bytes_are_a_row_or_an_error(content: bytes, at: int) -> None:
    try:
        change = read_change(content, min(at, len(content)), len(content))
    except ValueError:
        return
    assert len(change.key) + change.value_size <= len(content)


def test_revisions(texts: Texts) -> None:
    assert read_revision(revision_key(81_234, 7)) == (81_234, 7)
    assert read_revision(revision_key(1) + b"t") == (1, 0)
    assert (is_deletion(revision_key(1)), is_deletion(revision_key(1) + b"t")) == (False, True)
    with pytest.raises(ValueError) as caught:
        read_revision(b"short")
    texts(caught.value)
