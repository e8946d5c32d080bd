"""`etcdup backup compact`: a snapshot file without free pages."""

import asyncio
from pathlib import Path

from etcdup.cli.backups.open_backup import opened_backup, source_of
from etcdup.cli.run.session import Session
from etcdup.core.spec.units import show_size
from etcdup.errors import EXIT_DONE, RefusedError
from etcdup.ops.backups.rewrite import rewrite_snapshot


def compact_backup(
    file: Path,
    backup: Path,
    out: Path,
    revision: int | None,
    *,
    without_alarms: bool,
    identity: Path | None,
    unsigned: bool,
) -> int:
    """Write a new file with the same data, or with the data as of a revision. An existing file is never changed."""
    session = Session.begin(file)
    if out.exists():
        raise RefusedError(f"{out} exists", hint="pass the name of a new file with `--out`")

    async def compact() -> tuple[int, int]:
        async with opened_backup(session, source_of(session, backup, identity, unsigned=unsigned)) as opened:
            async with session.terminal.wait_notice(f"writing {out}"):
                await rewrite_snapshot(
                    opened.path, out, revision, alarms=not without_alarms, title=opened.title
                )
            sizes = await asyncio.gather(*(asyncio.to_thread(path.stat) for path in (opened.path, out)))
            return sizes[0].st_size, sizes[1].st_size

    before, after = session.run(compact())
    session.terminal.print_data(f"{out}: {show_size(after)}, before {show_size(before)}\n")
    return EXIT_DONE
