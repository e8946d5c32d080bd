"""What a member reads again when it starts, on generated logs. tests/local/test_v2_requests.py has logs of etcd."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.replay import LogPart, parse_log_part
from etcdup.core.etcd.wal import CRC, ENTRY, SNAPSHOT, STATE, encode_record
from tests.support.texts import Texts

NAME = f"{0:016x}-{{:016x}}.wal"
# As etcd 3.5.33 wrote them: the cluster version, and a put. As etcd 3.6.14 wrote them: an alarm, the cluster version.
V2 = (
    b'\x08\x82\xf0\x84\xed\xf0\xc4\xe8\xc8l\x12\x03PUT\x1a\n/0/version"\x053.5.0'
    b"(\x002\x008\x00H\x00P\x00X\x00`\x00h\x00p\x00x\x00\x80\x01\x00"
)
PUT = b'"\x06\n\x01a\x12\x01b\xa2\x06\x12\x08\x84\xf0\x84\xed\xf0\xc4\xe8\xc8l\x12\x04root\x18\x01'
ALARM = b"R\x00\xa2\x06\x13\x08\x84\xea\xf7\xed\xf0\xc4\xe8\x92\xbd\x01\x12\x04root\x18\x01"
VERSION_SET = b"\xa2\x06\n\x08\x84\x8a\xb7\xed\xf0\xc4\xa8\x85C\xa2Q\x07\n\x053.6.0"
# A v2 request inside a request of the v3 API, as members of earlier versions forwarded it.
NESTED = b"\x12" + bytes((len(V2),)) + V2
CONF_CHANGE = V2  # its data must not be read as a request

Record = tuple[int, bytes]


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + varint(value >> 7)


def entry(index: int, data: bytes, *, term: int = 2, kind: int = 0) -> Record:
    body = b"\x08" + varint(kind) + b"\x10" + varint(term) + b"\x18" + varint(index)
    return (ENTRY, body + (b"\x22" + varint(len(data)) + data if data else b""))


def snapshot(index: int) -> Record:
    return (SNAPSHOT, b"\x08" + varint(index) + b"\x10\x02")


def commit(index: int) -> Record:
    return (STATE, b"\x08\x02\x10\x05\x18" + varint(index))


def parsed(*records: Record, begin: int = 0) -> LogPart:
    file, crc = encode_record(CRC, b"", 0)
    for kind, data in records:
        record, crc = encode_record(kind, data, crc)
        file += record
    return parse_log_part(NAME.format(begin), file + b"\0" * 4096)


@pytest.mark.parametrize(
    ("records", "v2"),
    [
        ([entry(5, V2)], (5,)),
        ([entry(5, NESTED)], (5,)),
        ([entry(5, PUT), entry(6, ALARM), entry(7, VERSION_SET), entry(8, b"")], ()),
        ([entry(5, CONF_CHANGE, kind=1)], ()),
        ([entry(5, b"\xff\xff")], (5,)),
        # An entry of a newer term replaces all entries from its index on.
        ([entry(5, V2), entry(6, V2), entry(6, PUT, term=3)], (5,)),
        ([entry(5, V2), entry(5, V2, term=3)], (5,)),
    ],
)
def test_requests_that_3_7_cannot_read_are_found(records: list[Record], v2: tuple[int, ...]) -> None:
    assert parsed(*records).v2 == v2


@pytest.mark.parametrize(
    ("records", "reads_v2"),
    [
        ([snapshot(0), entry(5, V2), commit(5)], True),
        ([entry(5, V2), commit(5)], True),
        ([snapshot(0), entry(5, PUT), commit(5)], False),
        ([snapshot(0), entry(5, V2), entry(6, PUT), commit(6), snapshot(6)], False),
        ([snapshot(0), entry(5, V2), commit(5), snapshot(5)], False),
        ([snapshot(0), entry(5, PUT), commit(5), snapshot(5), entry(6, V2)], True),
        # etcd ignores a snapshot record that is not committed.
        ([snapshot(0), entry(5, V2), entry(6, PUT), snapshot(6), commit(5)], True),
    ],
)
def test_only_a_committed_snapshot_after_the_last_request_counts(
    records: list[Record], reads_v2: bool
) -> None:
    part = parsed(*records)
    assert part.is_whole
    assert (part.reads_v2, part.starts_without_v2) == (reads_v2, not reads_v2)


def test_a_part_without_its_snapshot_proves_nothing() -> None:
    last = parsed(entry(90, PUT), commit(90), begin=90)
    assert (last.is_whole, last.reads_v2, last.starts_without_v2) == (False, False, False)
    between = parsed(entry(80, V2), entry(89, PUT), commit(89), snapshot(85), begin=80)
    both = last.after(between)
    assert both.is_whole
    assert both.starts_without_v2
    # Entries after the snapshot may be in the file before the one with its record.
    late = parsed(commit(90), snapshot(85), begin=90)
    assert not late.is_whole
    assert late.after(parsed(entry(86, V2), entry(89, PUT), commit(89), begin=80)).reads_v2


def test_a_later_file_replaces_entries_of_an_earlier_one() -> None:
    older = parsed(snapshot(0), entry(5, V2), entry(6, V2), commit(4))
    assert parsed(entry(6, PUT, term=3), commit(6), begin=7).after(older).v2 == (5,)
    assert parsed(commit(6), begin=7).after(older).v2 == (5, 6)


@pytest.mark.parametrize("name", ["0.wal", "../../etc/shadow", f"{0:016x}-{5:016x}.wal.broken", ""])
def test_other_files_are_refused(texts: Texts, name: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_log_part(name, encode_record(CRC, b"", 0)[0])
    texts(caught.value)


@given(st.binary(max_size=200), st.sampled_from([ENTRY, STATE, SNAPSHOT]))
def test_any_record_is_read_or_refused(data: bytes, kind: int) -> None:
    """A host may send anything. A fault is a ValueError, which the callers report."""
    try:
        part = parsed((kind, data))
    except ValueError:
        return
    assert part.begin == 0
