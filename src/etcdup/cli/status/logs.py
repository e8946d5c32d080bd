"""`etcdup logs`: the logs of the members, as one log."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

from etcdup.cli.run.cluster_file import chosen_hosts
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.cli.views.text import json_text
from etcdup.core.observed.journal_lines import LogLine, merged
from etcdup.core.spec.units import WrongValue, parse_duration
from etcdup.errors import EXIT_DONE, EXIT_FAILED, UsageError
from etcdup.ops.world.member_logs import LogReader

_POLL_S = 1.0
_EMPTY = (
    "the log has no lines. Either etcd never started there, or journald does not store them: look for `Storage=none` "
    "in the output of `systemd-analyze cat-config systemd/journald.conf`"
)


def show_logs(
    file: Path, name: str | None, *, lines: int, since: str | None, follow: bool, as_json: bool
) -> int:
    """Print the last lines of each member, sorted by time. `follow` prints new lines until Ctrl-C.

    Return 1 if the log of a host could not be read.
    """
    session = Session.begin(file)
    names = chosen_hosts(session.spec, file, name)
    reading = _Reading(session, names, lines, _seconds(since), as_json=as_json)
    try:
        return session.run(reading.run(follow=follow))
    except Interrupted:
        if not follow:
            raise
        return EXIT_DONE


def _seconds(since: str | None) -> int | None:
    try:
        return None if since is None else parse_duration(since)
    except WrongValue as error:
        raise UsageError(f"--since: {error}", hint=error.hint) from None


class _Reading:
    """One run of the verb. A host whose log cannot be read is named once."""

    def __init__(
        self, session: Session, names: list[str], lines: int, since_s: int | None, *, as_json: bool
    ) -> None:
        self._session = session
        self._names = names
        self._lines = lines
        self._since_s = since_s
        self._as_json = as_json
        self._warned: set[str] = set()
        self._empty: set[str] = set()

    async def run(self, *, follow: bool) -> int:
        async with self._session.world() as world:
            reader = LogReader(world, self._names, self._lines, self._since_s)
            async with self._session.terminal.wait_notice("reading the logs"):
                parts = await reader.read()
            self._show(parts, reader)
            while follow and len(reader.why) < len(self._names):
                await asyncio.sleep(_POLL_S)
                self._show(await reader.read(), reader)
        return EXIT_FAILED if reader.why else EXIT_DONE

    def _show(self, parts: Iterable[tuple[LogLine, ...]], reader: LogReader) -> None:
        for name in sorted(reader.why.keys() - self._warned):
            self._session.terminal.warn(f"{name}: cannot read the log: {reader.why[name]}")
        self._warned = set(reader.why)
        for name in sorted(reader.empty - self._empty):
            self._session.terminal.warn(f"{name}: {_EMPTY}")
        self._empty |= reader.empty
        if lines := merged(parts):
            self._session.terminal.print_data("".join(map(self._text, lines)))

    def _text(self, line: LogLine) -> str:
        at = line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z") if line.at else ""
        if self._as_json:
            return json_text({"at": at, "host": line.host, "message": line.text}, None)
        width = max(map(len, self._names))
        return f"{at or '-':24}  {line.host:{width}}  {line.text}\n"
