"""The end of a member's write-ahead log (WAL): its last entry, its commit index, and a record that commits all entries.

A member fsyncs entries before it acknowledges them, but it persists the commit index later, without fsync. After a
power failure, the log can therefore end with entries that clients saw acknowledged, but that are above the stored
commit index. `--force-new-cluster` drops such entries.

The framing is that of https://github.com/etcd-io/etcd/tree/main/server/storage/wal (encoder.go, decoder.go). The
records are protobuf messages of walpb and raftpb.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from etcdup.core.etcd.varint import read_varint, write_varint

ENTRY, STATE, CRC, SNAPSHOT = 2, 3, 4, 5
_FRAME = struct.Struct("<Q")
_LENGTH = (1 << 56) - 1
_PADDED = 0x80
# Only the last writes can be torn. So only the checksums in this many bytes at the end are verified.
_CHECKED_BYTES = 256 * 1024
_LENGTH_DELIMITED, _FIXED64, _FIXED32 = 2, 1, 5


@dataclass(frozen=True, order=True)
class LastEntry:
    """The last entry of a log. Of two logs, the one with the greater last entry has all committed entries of both.

    Raft uses the same order to decide which member can become leader: https://raft.github.io/raft.pdf, section 5.4.1.
    """

    term: int
    index: int


@dataclass(frozen=True)
class LogEnd:
    """The end of the last file of a log.

    `size` is the offset after the last complete record, `crc` the checksum up to there. `term`, `vote` and `commit` are
    the last stored state of raft. `last` is None if the file has no entry, because it was started after the last one.
    """

    size: int
    crc: int
    term: int
    vote: int
    commit: int
    last: LastEntry | None


class Record(NamedTuple):
    """One record of a log file, and the offset after it."""

    end: int
    kind: int
    crc: int
    data: bytes


def parse_log_end(file: bytes) -> LogEnd:
    """Return the end of the log in this file. Raise ValueError if the file is not a write-ahead log."""
    records = complete_records(file)
    states = [record.data for record in records if record.kind == STATE]
    entries = [record.data for record in records if record.kind == ENTRY]
    term, vote, commit = numbers_of(states[-1], 1, 2, 3) if states else (0, 0, 0)
    last = LastEntry(*numbers_of(entries[-1], 2, 3)) if entries else None
    return LogEnd(records[-1].end, records[-1].crc, term, vote, commit, last)


def complete_records(file: bytes) -> list[Record]:
    """Return the records of the file, without a torn one at its end. Raise ValueError if it is not a log."""
    records = _without_torn(list(_records(file)))
    if not records or records[0].kind != CRC:
        raise ValueError("the file does not begin as a write-ahead log does")
    return records


def commit_record(end: LogEnd, last: LastEntry) -> bytes:
    """Return the record to append so that the log is committed up to `last`. Empty if it is already committed."""
    if last.index <= end.commit:
        return b""
    state = b"".join(
        write_varint(number << 3) + write_varint(value)
        for number, value in ((1, max(end.term, last.term)), (2, end.vote), (3, last.index))
    )
    return encode_record(STATE, state, end.crc)[0]


def encode_record(kind: int, data: bytes, previous_crc: int) -> tuple[bytes, int]:
    """Return a record as bytes of the file, and the checksum from which the next record continues."""
    crc = previous_crc if kind == CRC else crc32c(data, previous_crc)
    record = b"\x08" + write_varint(kind) + b"\x10" + write_varint(crc)
    record += b"\x1a" + write_varint(len(data)) + data if data else b""
    padding = -len(record) % 8
    flags = (_PADDED | padding) << 56 if padding else 0
    return _FRAME.pack(len(record) | flags) + record + b"\0" * padding, crc


def crc32c(data: bytes, previous: int = 0) -> int:
    """Return the CRC-32C (Castagnoli) of the data, continued from a previous checksum."""
    crc = previous ^ 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _records(file: bytes) -> Iterator[Record]:
    """Yield the records up to the preallocated space (zeros), or up to the first bytes that are not a record."""
    at = 0
    while at + _FRAME.size <= len(file):
        (frame,) = _FRAME.unpack_from(file, at)
        size, padding = frame & _LENGTH, (frame >> 56) & 7
        begin, end = at + _FRAME.size, at + _FRAME.size + size + padding
        if size == 0 or end > len(file):
            return
        try:
            yield _record(file, begin, begin + size, end)
        except (ValueError, IndexError):
            return
        at = end


def _record(file: bytes, begin: int, stop: int, end: int) -> Record:
    fields = dict(fields_of(file, begin, stop))
    kind, crc, data = fields.get(1), fields.get(2, 0), fields.get(3, b"")
    if not isinstance(kind, int) or not isinstance(crc, int) or not isinstance(data, bytes):
        raise ValueError("not a record of a write-ahead log")
    return Record(end, kind, crc, data)


def _without_torn(records: list[Record]) -> list[Record]:
    """Return the records before the first one near the end whose checksum is wrong, because a power failure tore it."""
    for number, (previous, record) in enumerate(pairwise(records), 1):
        is_checked = record.end > records[-1].end - _CHECKED_BYTES or record is records[-1]
        if is_checked and record.kind != CRC and crc32c(record.data, previous.crc) != record.crc:
            return records[:number]
    return records


def numbers_of(message: bytes, *wanted: int) -> tuple[int, ...]:
    """Return the values of these fields of a protobuf message. A field that is missing is 0."""
    fields = dict(fields_of(message))
    found = (fields.get(number, 0) for number in wanted)
    return tuple(value if isinstance(value, int) else 0 for value in found)


def fields_of(message: bytes, at: int = 0, stop: int | None = None) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of each field of a protobuf message. Raise ValueError if it is not one."""
    stop = len(message) if stop is None else stop
    while at < stop:
        key, at = read_varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = read_varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH_DELIMITED:
            length, at = read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + length > stop:
            raise ValueError("a field is longer than its message")
        yield number, message[at : at + length]
        at += length


def _polynomial(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_polynomial(byte) for byte in range(256))
