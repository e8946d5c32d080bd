"""What the clients of a load write down, a line of JSON each: requests, and what happened to the load itself.

Times are of CLOCK_MONOTONIC, which every process of this computer reads alike, those inside the machines too.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from tests.support.history import Outcome

Kind = Literal["write", "append", "read"]
EventKind = Literal["added", "removed", "stopped", "stalled"]

REGISTERS = 10


@dataclass(frozen=True)
class Keys:
    """Of one load, all below a folder of its own: what an earlier load left is none of its business."""

    folder: str

    @property
    def registers(self) -> tuple[str, ...]:
        return tuple(f"{self.folder}/register/{number}" for number in range(REGISTERS))

    @property
    def log(self) -> str:
        """Keys that begin with it are written once each."""
        return f"{self.folder}/log/"


@dataclass(frozen=True, slots=True)
class Request:
    """A "write" or "read" of a register, or an "append": a write of a key of its own. `error` is "" if answered."""

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
        """Of a failed one."""
        took = (self.returned_ns - self.invoked_ns) / 1e6
        return f"{self.client}: {self.kind} {self.outcome} after {took:.0f} ms: {self.error}"


@dataclass(frozen=True, slots=True)
class Event:
    """`member` is "" where it is about all. "stalled": the clients' own process got no CPU for `seconds`."""

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
