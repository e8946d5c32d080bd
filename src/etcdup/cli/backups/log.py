"""`etcdup backup log`: the changes of keys in a backup."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

from etcdup.cli.backups.open_backup import OpenedBackup, opened_backup, source_of
from etcdup.cli.run.moment import parse_moment
from etcdup.cli.run.session import Session
from etcdup.cli.views.change_log_view import change_json, change_line, times_line
from etcdup.cli.views.text import json_text
from etcdup.core.backups.change_log import Times, changes, read_times
from etcdup.core.backups.rewind import available_revisions
from etcdup.errors import EXIT_DONE, RefusedError

# The text of this many changes is made at once, in a thread, so that Ctrl-C acts at once.
_PART = 1000


def show_change_log(
    file: Path,
    backup: Path,
    prefix: str,
    *,
    oldest: str | None,
    newest: str | None,
    identity: Path | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Print which keys changed, in order of the revisions."""
    session = Session.begin(file)
    wanted = parse_moment("--from", oldest), parse_moment("--to", newest)

    async def show() -> None:
        async with opened_backup(session, source_of(session, backup, identity, unsigned=unsigned)) as opened:
            async with session.terminal.wait_notice(f"reading {opened.title}"):
                first, last, times = await asyncio.to_thread(_find_range, opened, *wanted)
            session.terminal.say(f"{opened.title}: changes from revision {first} to {last}")
            lines = _lines(opened, first, last, prefix, times, as_json=as_json)
            while part := await asyncio.to_thread(lambda: "".join(islice(lines, _PART))):
                session.terminal.print_data(part)

    session.run(show())
    return EXIT_DONE


def _find_range(
    opened: OpenedBackup, oldest: int | datetime | None, newest: int | datetime | None
) -> tuple[int, int, Times]:
    """Return the first and the last revision to print. A time is widened to the known times around it."""
    compacted, head = available_revisions(opened.bolt)
    times = read_times(opened.bolt)
    if isinstance(oldest, datetime):
        known = times.last_until(oldest)
        oldest = known[0] if known else None
    if isinstance(newest, datetime):
        newest = times.first_from(newest)
    first, last = oldest or compacted + 1, head if newest is None else min(newest, head)
    named = [each for each in (oldest, newest) if each]
    if compacted > 1 and min(named, default=first) <= compacted:
        raise RefusedError(
            f"{opened.title} has no changes before revision {compacted}: etcd compacted them",
            hint=f"pass `--from {compacted + 1}` and no earlier `--to`, or an older backup of `etcdup backup list`",
        )
    return first, last, times


def _lines(
    opened: OpenedBackup, first: int, last: int, prefix: str, times: Times, *, as_json: bool
) -> Iterator[str]:
    shown = None
    for change in changes(opened.bolt, first, last, prefix.encode()):
        around = times.around(change.revision)
        if as_json:
            yield json_text(change_json(change, around), None)
            continue
        if around != shown:
            shown = around
            yield times_line(around)
        yield change_line(change)
