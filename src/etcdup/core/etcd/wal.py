"""The end of a member's write-ahead log: how far it goes, how much of that its member knew to be committed, and the
one record that makes all of it so.

A member syncs entries before it says that it has them; that they were committed it hears afterwards, and notes without
a sync. After a power cut its log may thus end in entries that clients were told of as written, and that
`--force-new-cluster` would drop. Framing: etcd's wal/encoder.go and wal/decoder.go; records: walpb and raftpb.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from etcdup.core.etcd.varint import read_varint

ENTRY, STATE, CRC = 2, 3, 4
_FRAME = struct.Struct("<Q")
_LENGTH = (1 << 56) - 1
_PADDED = 0x80
# Only what was written last can be torn: checksums of so much at the end are compared.
_CHECKED_BYTES = 256 * 1024
_LENGTH_DELIMITED, _FIXED64, _FIXED32 = 2, 1, 5


@dataclass(frozen=True, order=True)
class LastEntry:
    """Where a log ends. Of two logs the greater one has every committed entry that either has: that is how raft itself
    judges who may lead."""

    term: int
    index: int


@dataclass(frozen=True)
class LogEnd:
    """Of the last file of a log: where its last whole record ends, and the checksum up to there. `last` is None where
    the file was begun after the last entry."""

    size: int
    crc: int
    term: int
    vote: int
    commit: int
    last: LastEntry | None


class _Record(NamedTuple):
    end: int
    kind: int
    crc: int
    data: bytes


def parse_log_end(file: bytes) -> LogEnd:
    """Raises ValueError where this is no write-ahead log."""
    records = _without_torn(list(_records(file)))
    if not records or records[0].kind != CRC:
        raise ValueError("it does not begin as a write-ahead log does")
    states = [record.data for record in records if record.kind == STATE]
    entries = [record.data for record in records if record.kind == ENTRY]
    term, vote, commit = _numbers(states[-1], 1, 2, 3) if states else (0, 0, 0)
    last = LastEntry(*_numbers(entries[-1], 2, 3)) if entries else None
    return LogEnd(records[-1].end, records[-1].crc, term, vote, commit, last)


def commit_record(end: LogEnd, last: LastEntry) -> bytes:
    """What at the end of that file says that the log is committed up to its last entry; nothing where it says so."""
    if last.index <= end.commit:
        return b""
    state = b"".join(
        _varint(number << 3) + _varint(value)
        for number, value in ((1, max(end.term, last.term)), (2, end.vote), (3, last.index))
    )
    return encode_record(STATE, state, end.crc)[0]


def encode_record(kind: int, data: bytes, before: int) -> tuple[bytes, int]:
    """A record as it stands in the file, and the checksum that the next one goes on from."""
    crc = before if kind == CRC else crc32c(data, before)
    record = b"\x08" + _varint(kind) + b"\x10" + _varint(crc)
    record += b"\x1a" + _varint(len(data)) + data if data else b""
    padding = -len(record) % 8
    flags = (_PADDED | padding) << 56 if padding else 0
    return _FRAME.pack(len(record) | flags) + record + b"\0" * padding, crc


def crc32c(data: bytes, before: int = 0) -> int:
    """Castagnoli's, going on from another."""
    crc = before ^ 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _records(file: bytes) -> Iterator[_Record]:
    """Up to the room that was taken ahead, or to what is no record."""
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


def _record(file: bytes, begin: int, stop: int, end: int) -> _Record:
    fields = dict(_fields(file, begin, stop))
    kind, crc, data = fields.get(1), fields.get(2, 0), fields.get(3, b"")
    if not isinstance(kind, int) or not isinstance(crc, int) or not isinstance(data, bytes):
        raise ValueError("no record of a log")
    return _Record(end, kind, crc, data)


def _without_torn(records: list[_Record]) -> list[_Record]:
    """Without those at the end that a power cut has torn, and what follows them."""
    for number, (before, record) in enumerate(pairwise(records), 1):
        late = record.end > records[-1].end - _CHECKED_BYTES or record is records[-1]
        if late and record.kind != CRC and crc32c(record.data, before.crc) != record.crc:
            return records[:number]
    return records


def _numbers(message: bytes, *wanted: int) -> tuple[int, ...]:
    fields = dict(_fields(message, 0, len(message)))
    found = (fields.get(number, 0) for number in wanted)
    return tuple(value if isinstance(value, int) else 0 for value in found)


def _fields(message: bytes, at: int, stop: int) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protobuf message's fields."""
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
            raise ValueError(f"no field is of kind {kind}")
        if at + length > stop:
            raise ValueError("a field goes beyond its message")
        yield number, message[at : at + length]
        at += length


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _polynomial(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = tuple(_polynomial(byte) for byte in range(256))
