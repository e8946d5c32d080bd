"""Records of a load's clients, one line of JSON each: requests, and events of the load itself.

Times are of CLOCK_MONOTONIC. It is the same for all processes of this computer, also inside the machines.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from tests.support.history import Outcome

Kind = Literal["write", "append", "read"]
EventKind = Literal["added", "removed", "stopped", "stalled", "disk stalled"]

REGISTERS = 10


@dataclass(frozen=True)
class Keys:
    """The keys of one load. They have a prefix of their own, so that keys of an earlier load do not count."""

    folder: str

    @property
    def registers(self) -> tuple[str, ...]:
        return tuple(f"{self.folder}/register/{number}" for number in range(REGISTERS))

    @property
    def log(self) -> str:
        """The prefix of keys that are written once each."""
        return f"{self.folder}/log/"


@dataclass(frozen=True, slots=True)
class Request:
    """A "write" or "read" of a register, or an "append": a write to a new key. `error` is "" if it succeeded."""

    kind: Kind
    key: str
    member: str
    client: str
    invoked_ns: int
    returned_ns: int
    value: str | None
    outcome: Outcome = "ok"
    error: str = ""

    def __str__(self) -> str:
        """Return one line about a failed request."""
        took = (self.returned_ns - self.invoked_ns) / 1e6
        return f"{self.client}: {self.kind} {self.outcome} after {took:.0f} ms: {self.error}"


@dataclass(frozen=True, slots=True)
class Event:
    """`member` is "" if the event concerns all.

    "stalled": the clients' process got no CPU for `seconds`. "disk stalled": this computer's disk needed `seconds` for
    one small write. Both end at `at_ns`.
    """

    event: EventKind
    member: str
    at_ns: int
    seconds: float = 0.0


Record = Request | Event


def to_line(record: Record) -> str:
    return json.dumps(asdict(record), separators=(",", ":")) + "\n"


def from_lines(lines: Iterable[str]) -> Iterator[Record]:
    for line in lines:
        fields = json.loads(line)
        yield Event(**fields) if "event" in fields else Request(**fields)
