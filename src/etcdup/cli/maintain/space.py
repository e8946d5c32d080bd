"""`etcdup maintain space`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.backups.backups import destinations_of, trust_of
from etcdup.cli.backups.open_backup import opened_backup, source_of
from etcdup.cli.run.session import Session
from etcdup.cli.views.space_view import SpaceReport, render_space, space_json
from etcdup.cli.views.text import json_text
from etcdup.core.backups.backups import HASH_BYTES
from etcdup.core.etcd.bbolt import Bolt
from etcdup.core.maintain.growth import growth_of
from etcdup.core.maintain.space import Space, measure_space
from etcdup.core.members.space import NO_LIMIT, quota_of
from etcdup.errors import EXIT_DONE, EtcdupError
from etcdup.ops.backups.destinations import LATEST, Contents, list_destinations
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.backups.store import ObjectNotFound
from etcdup.ops.maintain.space import snapshot_follower

_LIST_S = 5.0


@dataclass(frozen=True)
class _Source:
    """An open database, its title and its time, and the other backups. `quota` is that of the member, if known."""

    title: str
    path: Path
    bolt: Bolt
    at: datetime | None
    quota: int
    contents: Contents | None = None


def show_space(
    file: Path,
    backup: Path,
    prefix: str,
    *,
    live: bool,
    identity: Path | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Print what uses the bytes of the database in a backup, or of the running cluster."""
    session = Session.begin(file)

    async def measure() -> SpaceReport:
        opening = _live(session) if live else _backup(session, backup, identity, unsigned=unsigned)
        async with opening as source, session.terminal.wait_notice(f"measuring {source.title}"):
            size = source.path.stat().st_size - HASH_BYTES
            space = await asyncio.to_thread(measure_space, source.bolt, size, prefix.encode())
        return _report(source, prefix, space)

    report = session.run(measure())
    text = (
        json_text(space_json(report))
        if as_json
        else session.terminal.with_file(render_space(report, session.terminal.out))
    )
    session.terminal.print_data(text)
    return EXIT_DONE


def _report(source: _Source, prefix: str, space: Space) -> SpaceReport:
    growth = None
    if source.contents is not None and source.at is not None and source.quota < NO_LIMIT:
        backups = ((each.taken_at, each.manifest.size) for each in source.contents.usable if each.manifest)
        sizes = [each for each in backups if each[0] < source.at]
        growth = growth_of([*sizes, (source.at, space.file_bytes)], source.quota)
    return SpaceReport(source.title, source.at, prefix, space, source.quota, growth)


@asynccontextmanager
async def _backup(
    session: Session, named: Path, identity: Path | None, *, unsigned: bool
) -> AsyncIterator[_Source]:
    source = source_of(session, named, identity, unsigned=unsigned)
    try:
        async with opened_backup(session, source) as opened:
            at = opened.manifest.taken_at if opened.manifest else None
            yield _Source(
                opened.title, opened.path, opened.bolt, at, session.spec.etcd.quota, opened.contents
            )
    except ObjectNotFound as missing:
        if str(named) == LATEST:
            missing.hint = f"{missing.hint}, or pass `--live` for a new snapshot of a follower"
        raise


@asynccontextmanager
async def _live(session: Session) -> AsyncIterator[_Source]:
    terminal = session.terminal
    with scratch_folder("live") as folder:
        async with session.world() as world:
            observed = session.require_formed(await session.observe(world))
            async with terminal.wait_notice("taking a snapshot"):
                member, path = await snapshot_follower(world, observed, folder, terminal.report)
        with open_database(path) as bolt:
            quota = quota_of(session.spec, observed, member)
            contents = await _list_backups(session)
            yield _Source(f"snapshot of {member}", path, bolt, datetime.now(UTC), quota, contents)


async def _list_backups(session: Session) -> Contents | None:
    """Return the backups, only to compare their sizes. A destination that cannot be read does not stop the verb."""
    try:
        destinations, trust = destinations_of(session), trust_of(session)
        return await list_destinations(destinations, session.spec.name, trust, within_s=_LIST_S)
    except EtcdupError as error:
        session.terminal.warn(f"the growth is not known: {error.message}")
        return None
