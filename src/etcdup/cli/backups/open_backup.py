"""The database of a backup or a snapshot file, for verbs that only read it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from etcdup.cli.backups.backups import destinations_of, trust_of
from etcdup.cli.run.session import Session
from etcdup.core.backups.backups import Manifest
from etcdup.core.etcd.bbolt import Bolt
from etcdup.ops.backups.destinations import Contents
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.scratch_folder import scratch_folder
from etcdup.ops.backups.snapshot_file import open_database
from etcdup.ops.restore.snapshot_source import SnapshotSource, fetch_backup, list_source, verify_source


@dataclass(frozen=True)
class OpenedBackup:
    """A database that was verified. A snapshot file has no manifest and no other backups."""

    title: str
    path: Path
    bolt: Bolt
    manifest: Manifest | None = None
    contents: Contents | None = None


def source_of(
    session: Session, named: Path, identity: Path | None, *, unsigned: bool, origin: str | None = None
) -> SnapshotSource:
    """Return what the operator named: a file, the name of a backup, or `latest`.

    `origin` is the cluster that it must come from, if that is another one.
    """
    key = Identity.read(identity) if identity else None
    return SnapshotSource(named, origin or session.spec.name, trust_of(session, unsigned=unsigned), key)


@asynccontextmanager
async def opened_backup(session: Session, source: SnapshotSource) -> AsyncIterator[OpenedBackup]:
    """Verify the backup and open its database. The copy is deleted at the end of the block."""
    terminal = session.terminal
    with scratch_folder("read") as folder:
        if not source.is_in_store:
            async with terminal.wait_notice(f"reading {source.named}"):
                path = await asyncio.to_thread(verify_source, source, folder)
            with open_database(path) as bolt:
                yield OpenedBackup(str(source.named), path, bolt)
            return
        destinations = destinations_of(session)
        async with terminal.wait_notice(f"fetching {source.named} from {destinations.title}"):
            contents = await list_source(destinations, source, terminal.warn)
            fetched = await fetch_backup(contents, source, folder, terminal.report, terminal.warn)
        with open_database(fetched.path) as bolt:
            title = f"backup {fetched.manifest.name}"
            yield OpenedBackup(title, fetched.path, bolt, fetched.manifest, contents)
