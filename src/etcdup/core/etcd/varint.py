"""Numbers as protobuf writes them, for what is read past the generated code: a snapshot's stream, a log's records."""


def read_varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises ValueError."""
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError("the message ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")
