"""Protobuf varints, for data that is read and written without generated code: snapshots and log records.

https://protobuf.dev/programming-guides/encoding/#varints
"""


def read_varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return the varint at this position, and the position after it. Raise ValueError if there is none."""
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("the message ends inside a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def write_varint(value: int) -> bytes:
    """Return the varint of a number that is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
