"""Parse the sizes and durations of cluster.yaml, and format them for messages."""

import re
from dataclasses import dataclass
from datetime import datetime

# The number of digits is limited, so that a file cannot make etcdup compute with a number of a million digits.
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(B|[KMGT]i?B?)?", re.IGNORECASE | re.ASCII)
_BINARY = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DURATION = re.compile(r"(\d{1,9})\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_MIB = 1024**2
# etcd has revisions of 63 bits.
LARGEST_REVISION = 2**62
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class WrongValue(ValueError):
    """A value of cluster.yaml is wrong. The message is for the operator; `hint` says what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def parse_size(value: object) -> int:
    """Return the bytes of `2GiB`, `512MiB` or a plain number. Raise WrongValue for any other value.

    `GB` means GiB too, as in the documents of etcd.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise WrongValue(f"`{value}` is not a size", "write a number with a unit, for example 2GiB or 512MiB")
    unit = (match[2] or "").upper().removesuffix("B").removesuffix("I")
    return int(float(match[1]) * _BINARY[unit])


def parse_duration(value: object) -> int:
    """Return the seconds of `8h`, `1h30m`, `7d` or a plain number. Raise WrongValue for any other value."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = value.strip() if isinstance(value, str) else ""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text):
        raise WrongValue(
            f"`{value}` is not a duration", "write a number with a unit, for example 30s, 8h or 7d"
        )
    if any(unit == "ms" for _, unit in parts):
        raise WrongValue(
            f"`{value}` has milliseconds, which are not allowed", "write whole seconds, for example 1s"
        )
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


@dataclass(frozen=True)
class Revisions:
    """A number of revisions of the key space. etcd keeps the newest ones."""

    count: int


def parse_compaction(value: object) -> int | Revisions:
    """Return the seconds of a duration, or the number in `{revisions: 10000}`. Raise WrongValue for any other value."""
    if not isinstance(value, dict):
        return parse_duration(value)
    count = value.get("revisions")
    if len(value) != 1 or type(count) is not int or not 0 < count <= LARGEST_REVISION:
        message = "the value is neither a duration nor a number of revisions"
        raise WrongValue(message, "write for example 8h, or {revisions: 10000}")
    return Revisions(count)


def show_size(size: int) -> str:
    """Return the bytes in the largest binary unit in which the number is at least 1: `20.0 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def show_transfer(done: int, total: int) -> str:
    """Return how much of a transfer is done: `12.0 of 25.0 MiB (48%)`. A total of 0 is not known."""
    if not total:
        return f"{done / _MIB:.1f} MiB"
    percent = min(100 * done // total, 100)
    return f"{done / _MIB:.1f} of {total / _MIB:.1f} MiB ({percent}%)"


def show_time(at: datetime) -> str:
    """Return a time in UTC: `2026-11-25T12:00:00Z`."""
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def show_duration(seconds: float) -> str:
    """Return the seconds in the largest unit in which the number is at least 1: `850 ms`, `4.2 s`, `3 h`, `12 d`."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit in ((86_400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 60:.0f} min"
