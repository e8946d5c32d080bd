"""What was done to etcd on a machine, as its journal tells: stops and starts, and leadership moved away."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.lab.machine import Machine

# systemd.journal-fields(7), SD_MESSAGE_UNIT_*; the same in every version.
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STARTED = "39f53479d3a045ac8e11786248231fbf"
# etcd's own words when it was removed from the member list and is about to stop by itself (rule 33); the last are
# its panic when somebody asks for its status in the second before.
REMOVED = (
    "server error",
    "data-dir used by this member must be removed",
    "failed to find local ID in cluster members",
)
# etcd's own words, from 3.4 to 3.7; both for a move that was asked for, and for the one before it ends.
MOVING = "leadership transfer starting"
MOVED = "leadership transfer finished"

FOREVER = 2**63
# A member that is removed closes its connections before anything says that it stops: its raft ends first.
EARLY_NS = 1_000_000_000
# The journal's time of a message is when it came: a little later than what it tells of.
LATE_NS = 100_000_000


@dataclass(frozen=True)
class Span:
    """A time that began on this member. Of CLOCK_MONOTONIC, which all machines share with this computer.

    A downtime is from the stop's begin to the start's end, when etcd said that it serves. A handover is from the
    leader's first word of it until it knew another leader.
    """

    member: str
    from_ns: int
    until_ns: int

    def overlaps(self, begin_ns: int, end_ns: int, grace_ns: int = LATE_NS) -> bool:
        """Whether what took from begin to end was under way at any moment of this, or of the grace after it."""
        return begin_ns <= self.until_ns + grace_ns and end_ns >= self.from_ns - LATE_NS


@dataclass(frozen=True)
class History:
    """Of one machine or of several, since their boot. What has not ended lasts FOREVER."""

    downtimes: tuple[Span, ...] = ()
    handovers: tuple[Span, ...] = ()

    def __add__(self, other: "History") -> "History":
        return History(self.downtimes + other.downtimes, self.handovers + other.handovers)


def history_of(machine: Machine) -> History:
    told = list(_read_messages(machine))
    return History(
        tuple(_spans(machine.name, told, (STOPPING, *REMOVED), STARTED)),
        tuple(_spans(machine.name, told, (MOVING,), MOVED)),
    )


def _spans(member: str, told: list[tuple[str, int]], begins: tuple[str, ...], ends: str) -> Iterator[Span]:
    from_ns: int | None = None
    for what, at_ns in told:
        if what in begins and from_ns is None:
            from_ns = at_ns - (0 if what == MOVING else EARLY_NS)
        elif what == ends and from_ns is not None:
            yield Span(member, from_ns, at_ns)
            from_ns = None
    if from_ns is not None:
        yield Span(member, from_ns, FOREVER)


def _read_messages(machine: Machine) -> Iterator[tuple[str, int]]:
    """The kind of each message of systemd about etcd, the text of each of etcd's own; and when."""
    fields = "MESSAGE,MESSAGE_ID,_SOURCE_MONOTONIC_TIMESTAMP"
    said = machine.run(
        f"journalctl --boot --quiet --unit=etcd.service --output=json --output-fields={fields}"
    )
    for line in said.stdout.splitlines():
        entry = json.loads(line)
        at_us = int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry["__MONOTONIC_TIMESTAMP"])
        yield entry.get("MESSAGE_ID") or _text(entry.get("MESSAGE")), at_us * 1000


def _text(message: object) -> str:
    """What is in etcd's line of JSON; a message of another kind, or not of UTF-8, tells nothing here."""
    if not isinstance(message, str) or not message.startswith("{"):
        return ""
    return str(json.loads(message).get("msg", ""))
