"""The log lines of members with their times, to show those of several hosts as one log."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from etcdup.core.observed.unit_log import message_text
from etcdup.core.spec.json_object import json_object
from etcdup.core.spec.visible import MESSAGE_LIMIT, one_line

_CURSOR = re.compile(r"[A-Za-z0-9=;]{1,400}", re.ASCII)
_MOST_TIME_US = 253_402_300_799_000_000


@dataclass(frozen=True)
class LogLine:
    """A line of the log of one member. `at` is None if the line has no time."""

    host: str
    at: datetime | None
    text: str


@dataclass(frozen=True)
class LogPart:
    """Lines of one host, and the place where the next lines of its journal begin."""

    lines: tuple[LogLine, ...] = ()
    cursor: str = ""


def journal_argv(count: int, since_s: int | None, cursor: str = "") -> tuple[str, ...]:
    """Return the command that prints the last lines of etcd's journal, or those after the cursor, as JSON."""
    since = () if since_s is None or cursor else (f"--since=-{since_s}s",)
    after = (f"--after-cursor={cursor}",) if cursor else ()
    return (
        "journalctl", "--unit=etcd.service", *since, *after, f"--lines={count}", "--no-pager", "--output=json",
        "--output-fields=MESSAGE",
    )  # fmt: skip


def parse_journal(host: str, output: str) -> LogPart:
    """Return the lines of journalctl. Entries without a message are left out."""
    lines, cursor = [], ""
    for line in output.splitlines():
        entry = json_object(line)
        if isinstance(found := entry.get("__CURSOR"), str) and _CURSOR.fullmatch(found):
            cursor = found
        if text := message_text(entry.get("MESSAGE")):
            lines.append(LogLine(host, _time(entry.get("__REALTIME_TIMESTAMP")), _shown(text)))
    return LogPart(tuple(lines), cursor)


def parse_file(host: str, output: str) -> LogPart:
    """Return the lines of a local member's log file. etcd writes the time of a line as `ts`."""
    lines = [LogLine(host, _file_time(line), _shown(line)) for line in output.splitlines() if line]
    return LogPart(tuple(lines))


def newer_than(part: LogPart, last: LogLine | None) -> tuple[LogLine, ...]:
    """Return the lines after the last one that was shown; all of them if it is not among them."""
    lines = part.lines
    if last not in lines:
        return lines
    return lines[len(lines) - lines[::-1].index(last) :]


def merged(parts: Iterable[Sequence[LogLine]]) -> list[LogLine]:
    """Return the lines of all hosts in the order of their times. A line without a time follows the line before it."""
    timed: list[tuple[datetime, LogLine]] = []
    for lines in parts:
        at = datetime.min.replace(tzinfo=UTC)
        for line in lines:
            at = max(at, line.at) if line.at else at
            timed.append((at, line))
    return [line for _, line in sorted(timed, key=lambda each: each[0])]


def _shown(text: str) -> str:
    return one_line(text, MESSAGE_LIMIT)


def _time(value: object) -> datetime | None:
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII)
        or int(value) > _MOST_TIME_US
    ):
        return None
    return datetime.fromtimestamp(int(value) / 1_000_000, UTC)


def _file_time(line: str) -> datetime | None:
    value = json_object(line).get("ts")
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)
