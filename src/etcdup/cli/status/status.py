"""`etcdup status`."""

import asyncio
import time
from pathlib import Path
from typing import Any

from etcdup.cli.backups.backups import find_last_backups
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.cli.views.status_view import Status, render_status, status_json, status_of
from etcdup.cli.views.text import json_text
from etcdup.core.observed.model import Observed
from etcdup.errors import EXIT_DONE, EXIT_FAILED
from etcdup.ops.world.observe import observe

WATCH_EVERY_S = 1.0
# A backup destination may be slow.
BACKUPS_EVERY_S = 60.0
StatusData = tuple[Observed, dict[str, Any]]


def show_status(file: Path, *, as_json: bool, watch: bool, signal_faults: bool = False) -> int:
    """Print the status. Return 0 whatever the status is, unless `signal_faults` is set."""
    session = Session.begin(file)
    if watch:
        return _watch_until_interrupted(session, as_json=as_json)
    status = status_of(session.spec, *session.run(_observe(session)))
    session.terminal.print_data(_status_text(session, status, as_json=as_json))
    return EXIT_FAILED if signal_faults and not status.is_healthy else EXIT_DONE


async def _observe(session: Session) -> StatusData:
    async with session.world() as world:
        return await session.observe_with_lock(world), await find_last_backups(session.spec, session.folder)


def _watch_until_interrupted(session: Session, *, as_json: bool) -> int:
    """Print the status again and again. Ctrl-C ends this with exit code 0."""
    try:
        session.run(_watch(session, as_json=as_json))
    except Interrupted:
        session.terminal.say()
    return EXIT_DONE


async def _watch(session: Session, *, as_json: bool) -> None:
    full_screen = session.terminal.out.colour and not as_json
    if full_screen:
        session.terminal.draw_screen("")
    async with session.world() as world:
        backups, looked = await find_last_backups(session.spec, session.folder), time.monotonic()
        while True:
            if time.monotonic() - looked > BACKUPS_EVERY_S:
                backups, looked = await find_last_backups(session.spec, session.folder), time.monotonic()
            status = status_of(session.spec, await observe(world), backups)
            text = _status_text(session, status, as_json=as_json, indent=None)
            if full_screen:
                # The time shows that the screen is not frozen.
                session.terminal.draw_screen(f"{text}\n  {status.at:%Y-%m-%dT%H:%M:%SZ}, every second\n")
            else:
                session.terminal.print_data(text)
            await asyncio.sleep(WATCH_EVERY_S)


def _status_text(session: Session, status: Status, *, as_json: bool, indent: int | None = 1) -> str:
    if as_json:
        return json_text(status_json(status), indent)
    return session.terminal.with_file(render_status(status, session.terminal.out, session.terminal.width))
