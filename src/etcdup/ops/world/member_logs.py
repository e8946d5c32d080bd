"""Read the logs of members on their hosts, again and again for `logs --follow`."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from etcdup.core.observed.journal_lines import (
    LogLine,
    LogPart,
    journal_argv,
    newer_than,
    parse_file,
    parse_journal,
)
from etcdup.core.spec.layout import layout_of
from etcdup.errors import RemoteError
from etcdup.ops.world.world import World

# What a member can log between two readings. More lines are skipped.
_MOST_NEW = 10_000


class LogReader:
    """Reads the last `count` lines of each member first, and then the lines that are new.

    `why` has each failure. `empty` are the hosts whose log could be read and has no line at all.
    """

    def __init__(self, world: World, names: list[str], count: int, since_s: int | None) -> None:
        self._world = world
        self._names = names
        self._count = count
        self._since_s = since_s
        self._cursors: dict[str, str] = {}
        self._last: dict[str, LogLine] = {}
        self.why: dict[str, str] = {}
        self.empty: set[str] = set()

    async def read(self) -> list[tuple[LogLine, ...]]:
        """Return the new lines of each host whose log could be read."""
        parts = await asyncio.gather(*(self._read_host(name) for name in self._names))
        return [lines for lines in parts if lines is not None]

    async def _read_host(self, name: str) -> tuple[LogLine, ...] | None:
        if name in self._world.unreachable:
            self.why[name] = self._world.unreachable[name].why
            return None
        try:
            part = await self._read_part(name)
        except RemoteError as error:
            self.why[name] = error.message
            return None
        self.why.pop(name, None)
        if part.lines or self._since_s is not None:
            self.empty.discard(name)
        elif name not in self._last:
            self.empty.add(name)
        lines = part.lines if part.cursor else newer_than(part, self._last.get(name))
        self._cursors[name] = part.cursor or self._cursors.get(name, "")
        self._last[name] = lines[-1] if lines else self._last.get(name, LogLine(name, None, ""))
        return lines

    async def _read_part(self, name: str) -> LogPart:
        host, layout = self._world.hosts[name], layout_of(self._world.spec, self._world.spec.host(name))
        count = _MOST_NEW if name in self._last else self._count
        if layout.supervisor == "process":
            # A member that never started has no file.
            script = 'test ! -e "$2" || exec tail -n "$1" -- "$2"'
            tail = await host.run(("sh", "-c", script, "sh", str(count), layout.log))
            part = parse_file(name, tail.check().stdout)
            return part if self._since_s is None else lines_since(part, self._since_s)
        argv = journal_argv(count, self._since_s, self._cursors.get(name, ""))
        return parse_journal(name, (await host.run(argv)).check().stdout)


def lines_since(part: LogPart, since_s: int) -> LogPart:
    """Leave out the lines of a file on this machine that are too old. Lines without a time are kept.

    journalctl does this for a journal, by the clock of its host, which can differ from the clock of this machine.
    """
    first = datetime.now(UTC) - timedelta(seconds=since_s)
    return replace(part, lines=tuple(line for line in part.lines if line.at is None or line.at >= first))
