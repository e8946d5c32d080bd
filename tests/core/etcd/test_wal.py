"""The end of a write-ahead log, on generated logs. tests/local/test_wal_end.py reads logs that etcd wrote."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etcdup.core.etcd.wal import (
    CRC,
    ENTRY,
    STATE,
    LastEntry,
    LogEnd,
    commit_record,
    crc32c,
    encode_record,
    parse_log_end,
)
from tests.support.texts import Texts

PADDING = b"\0" * 4096
entries = st.lists(st.tuples(st.integers(1, 9), st.binary(max_size=40)), min_size=1, max_size=12)


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128,)) + varint(value >> 7)


def log_files(terms: list[tuple[int, bytes]], commit: int) -> list[bytes]:
    """Return the content of a log file after each record. Terms never decrease."""
    file, crc = encode_record(CRC, b"", 7)
    found = [file]
    state = b"\x08" + varint(3) + b"\x10" + varint(2**63) + b"\x18" + varint(commit)
    records = [(STATE, state)]
    for index, (term, data) in enumerate(sorted(terms), 300):
        body = b"\x08\x00\x10" + varint(term) + b"\x18" + varint(index) + b"\x22" + varint(len(data)) + data
        records.append((ENTRY, body))
    for kind, data in records:
        record, crc = encode_record(kind, data, crc)
        file += record
        found.append(file)
    return found


def test_the_checksum_is_crc32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


@given(entries, st.integers(0, 400))
def test_the_end_is_parsed_and_can_be_committed(terms: list[tuple[int, bytes]], commit: int) -> None:
    file = log_files(terms, commit)[-1]
    end = parse_log_end(file + PADDING)
    last = LastEntry(max(term for term, _ in terms), 299 + len(terms))
    assert (end.size, end.term, end.vote, end.commit, end.last) == (len(file), 3, 2**63, commit, last)
    more = commit_record(end, last)
    assert (more == b"") == (commit >= last.index)
    again = parse_log_end(file[: end.size] + more + PADDING)
    assert (again.last, again.vote, again.commit) == (last, 2**63, max(commit, last.index))
    assert again.term >= max(end.term, last.term if more else 0)
    assert commit_record(again, last) == b""


@given(entries, st.data())
def test_a_truncated_or_torn_log_ends_with_its_last_complete_record(
    terms: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    files = log_files(terms, 0)
    ends: dict[int, LogEnd] = {len(file): parse_log_end(file) for file in files}
    cut = files[-1][: data.draw(st.integers(len(files[0]), len(files[-1]) - 1))] + PADDING
    # A record that lost only zeros is still complete, because the padding is zeros too.
    assert parse_log_end(cut) == ends[max(len(file) for file in files if cut.startswith(file))]
    begin = len(files[-2])
    stop = begin + 8 + int.from_bytes(files[-1][begin : begin + 7], "little")
    torn = bytearray(files[-1])
    torn[data.draw(st.integers(stop - 6, stop - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert parse_log_end(bytes(torn) + PADDING) == ends[begin]


def test_a_new_file_has_no_entry() -> None:
    end = parse_log_end(log_files([(1, b"x")], 5)[1] + PADDING)
    assert (end.commit, end.last) == (5, None)
    assert commit_record(end, LastEntry(1, 9))


@pytest.mark.parametrize("file", [b"", PADDING, b"\xff" * 100, encode_record(STATE, b"\x08\x01", 0)[0]])
def test_another_file_is_rejected(texts: Texts, file: bytes) -> None:
    with pytest.raises(ValueError) as caught:
        parse_log_end(file)
    texts(caught.value)
