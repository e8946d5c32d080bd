"""Stops, starts and leadership transfers of etcd on a machine, as the machine's journal shows them."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.lab.machine import Machine

# systemd.journal-fields(7), SD_MESSAGE_UNIT_*; the same in every version.
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STARTED = "39f53479d3a045ac8e11786248231fbf"
# Messages of an etcd that was removed from the member list and is about to stop by itself (rule 33). The last one is
# its panic if a client requests its status in the second before.
REMOVED = (
    "server error",
    "data-dir used by this member must be removed",
    "failed to find local ID in cluster members",
)
# Messages of etcd 3.4 to 3.7, for a requested transfer and for the transfer before a leader stops.
MOVING = "leadership transfer starting"
MOVED = "leadership transfer finished"

FOREVER = 2**63
# A removed member closes its connections before its messages say that it stops, because raft ends first.
EARLY_NS = 1_000_000_000
# The journal has the time at which a message arrived, which is a little later than the event.
LATE_NS = 100_000_000


@dataclass(frozen=True)
class Span:
    """A time span of this member, by CLOCK_MONOTONIC, which is the same on all machines and this computer.

    A downtime is from the begin of the stop to the end of the start, when etcd reported that it is ready. A transfer
    is from the leader's first message about it until another leader is elected.
    """

    member: str
    from_ns: int
    until_ns: int

    def overlaps(self, begin_ns: int, end_ns: int, grace_ns: int = LATE_NS) -> bool:
        """Return whether something from begin to end was under way in this span, or in the grace after it."""
        return begin_ns <= self.until_ns + grace_ns and end_ns >= self.from_ns - LATE_NS


@dataclass(frozen=True)
class Message:
    """A message of systemd or etcd about this member. `what` is the ID of systemd's message, or the text of etcd's.

    `line` is the whole line. It tells why a gap was long: an election, or a slow disk.
    """

    member: str
    at_ns: int
    what: str
    line: str


@dataclass(frozen=True)
class History:
    """The history of one machine or several since their boot. A span that has not ended lasts FOREVER."""

    downtimes: tuple[Span, ...] = ()
    transfers: tuple[Span, ...] = ()
    messages: tuple[Message, ...] = ()

    def __add__(self, other: "History") -> "History":
        return History(
            self.downtimes + other.downtimes,
            self.transfers + other.transfers,
            self.messages + other.messages,
        )

    def telling_messages(self, begin_ns: int, end_ns: int) -> list[Message]:
        """Return systemd's messages of a time, and those of etcd that are warnings or about leaders, in order."""
        within = (each for each in self.messages if begin_ns <= each.at_ns <= end_ns)
        return sorted(filter(_is_telling, within), key=lambda each: each.at_ns)


def history_of(machine: Machine) -> History:
    messages = tuple(_read_messages(machine))
    return History(
        tuple(_spans(machine.name, messages, (STOPPING, *REMOVED), STARTED)),
        tuple(_spans(machine.name, messages, (MOVING,), MOVED)),
        messages,
    )


def _is_telling(message: Message) -> bool:
    level = re.search(r'"level":"(\w+)"', message.line)
    return level is None or level[1] != "info" or "leader" in message.line


def _spans(member: str, messages: Sequence[Message], begins: tuple[str, ...], ends: str) -> Iterator[Span]:
    from_ns: int | None = None
    for what, at_ns in ((each.what, each.at_ns) for each in messages):
        if what in begins and from_ns is None:
            from_ns = at_ns - (0 if what == MOVING else EARLY_NS)
        elif what == ends and from_ns is not None:
            yield Span(member, from_ns, at_ns)
            from_ns = None
    if from_ns is not None:
        yield Span(member, from_ns, FOREVER)


def _read_messages(machine: Machine) -> Iterator[Message]:
    """Yield the messages of systemd about etcd, and those of etcd, in the order of the journal."""
    fields = "MESSAGE,MESSAGE_ID,_SOURCE_MONOTONIC_TIMESTAMP"
    journal = machine.run(
        f"journalctl --boot --quiet --unit=etcd.service --output=json --output-fields={fields}"
    )
    for line in journal.stdout.splitlines():
        entry = json.loads(line)
        at_us = int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or entry["__MONOTONIC_TIMESTAMP"])
        line = entry.get("MESSAGE")
        what = entry.get("MESSAGE_ID") or _text(line)
        yield Message(machine.name, at_us * 1000, what, line if isinstance(line, str) else "")


def _text(message: object) -> str:
    """Return the `msg` of a JSON line of etcd. Return "" for other lines, and for lines that are not UTF-8."""
    if not isinstance(message, str) or not message.startswith("{"):
        return ""
    return str(json.loads(message).get("msg", ""))
