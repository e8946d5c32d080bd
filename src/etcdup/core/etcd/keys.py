"""Keys of the API of etcd."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PresentKey:
    """A key as it is now in the cluster. `revision` is that of its last change."""

    revision: int
    value: bytes
    lease: int


def key_text(key: bytes) -> str:
    """Return a key on one line. Line ends, tabs and bytes that are not UTF-8 are escapes."""
    text = key.decode("utf-8", "backslashreplace")
    return text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")


def end_of_prefix(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with a prefix. `\\0` is the end of all keys."""
    shorter = prefix.rstrip(b"\xff")
    return shorter[:-1] + bytes([shorter[-1] + 1]) if shorter else b"\0"
