"""The rows of the bucket `key`: each is a change of one key. Read-only.

The key of a row is a revision: 8 bytes, `_`, and the number of the change in that revision; `t` after it if the key was
deleted. The value is an mvccpb.KeyValue: https://github.com/etcd-io/etcd/blob/main/api/mvccpb/kv.proto
"""

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.etcd.varint import read_varint
from etcdup.core.etcd.wal import fields_of

BUCKET = b"key"
REVISION_SIZE = 17
_REVISION = struct.Struct(">QxQ")
_KEY, _VERSION, _VALUE, _LEASE = 1, 4, 5, 6  # fields of KeyValue
_KEY_TAG, _LEASE_TAG = 0x0A, 0x30
_NUMBER = rb"([\x80-\xff]*[\x00-\x7f])"
# The fields between the key and the bytes of the value, as etcd writes them. Fields with the value 0 are missing.
_MIDDLE = re.compile(
    rb"(?:\x10"
    + _NUMBER
    + rb")?(?:\x18"
    + _NUMBER
    + rb")?(?:\x20"
    + _NUMBER
    + rb")?(?:\x2a"
    + _NUMBER
    + rb")?"
)
_IS_FIRST = b"\x01"


class Change(NamedTuple):
    """A KeyValue without its value.

    `is_first`: the key did not exist before. A restore that raises the revisions writes a row without a key.
    """

    key: bytes
    is_first: bool
    lease: int
    value_size: int


def revision_key(main: int, sub: int = 0) -> bytes:
    """Return the key of a row."""
    return main.to_bytes(8) + b"_" + sub.to_bytes(8)


def read_revision(key: bytes) -> tuple[int, int]:
    """Return the revision in the key of a row, and the number of the change in it. Raise ValueError."""
    if len(key) not in (REVISION_SIZE, REVISION_SIZE + 1):
        raise ValueError("a row has no revision")
    main, sub = _REVISION.unpack_from(key)
    return main, sub


def is_deletion(key: bytes) -> bool:
    """Return whether the row with this key is a deletion."""
    return len(key) > REVISION_SIZE


def read_change(page: bytes, at: int, end: int) -> Change:
    """Return the KeyValue at this position of a page. Raise ValueError if it is damaged.

    A database can have millions of rows. So the order of fields that etcd writes is read without a loop over them.
    """
    if at + 1 < end and page[at] == _KEY_TAG:
        key_size, key_at = page[at + 1], at + 2
        if key_size >= 0x80:
            key_size, key_at = read_varint(page, at + 1)
        key_end = key_at + key_size
        middle = _MIDDLE.match(page, key_end, end)
        if middle is not None:
            _, _, version, size = middle.groups()
            lease, value_size = 0, _number(size) if size else 0
            after = middle.end() + value_size
            if after < end and page[after] == _LEASE_TAG:
                lease, after = read_varint(page, after + 1)
            if after == end:
                return Change(page[key_at:key_end], version == _IS_FIRST, lease, value_size)
    return _read_any_change(page[at:end])


def _number(varint: bytes) -> int:
    """Return a varint. Those of one and two bytes, which are almost all, need no loop."""
    if len(varint) == 1:
        return varint[0]
    return varint[0] & 0x7F | varint[1] << 7 if len(varint) == 2 else read_varint(varint, 0)[0]


def _read_any_change(message: bytes) -> Change:
    fields = dict(fields_of(message))
    key, value, lease = fields.get(_KEY, b""), fields.get(_VALUE, b""), fields.get(_LEASE, 0)
    if not isinstance(key, bytes) or not isinstance(value, bytes) or not isinstance(lease, int):
        raise ValueError("a row is not a key of etcd")
    return Change(key, fields.get(_VERSION) == 1, lease, len(value))


def read_value(message: bytes) -> bytes:
    """Return the value of a KeyValue; empty if it has none."""
    value = dict(fields_of(message)).get(_VALUE, b"")
    return value if isinstance(value, bytes) else b""


def rows(bolt: Bolt, start: int = 0) -> Iterator[tuple[bytes, bytes, int, int]]:
    """Yield the revision key of each row from a revision on, its page, and where its message begins and ends."""
    first = revision_key(start)
    for page, spans in bolt.leaves(BUCKET, start=first):
        for _, key, value, end in spans:
            revision = page[key:value]
            if revision >= first:
                yield revision, page, value, end
