"""The snapshot that a restore is of: a file on this machine, or a backup by its name in the store.

A file is taken for what it is called; what has no file, and is named like a backup, is looked for in the store.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from etcdup.core.backups import DATABASE, MANIFEST, Manifest, NotAManifest, cluster_of, read_manifest
from etcdup.core.restoration import SnapshotFile
from etcdup.errors import RefusedError
from etcdup.ops.backups import Report, fetch
from etcdup.ops.snapshot_file import read_snapshot
from etcdup.ops.store import Store

LATEST = "latest"


def is_in_store(named: Path) -> bool:
    """Whether this names a backup rather than a file."""
    text = str(named)
    return not named.exists() and (text == LATEST or ("/" not in text and cluster_of(text) is not None))


async def from_store(store: Store, named: str, cluster: str, folder: Path, report: Report) -> SnapshotFile:
    """Fetched into `folder`, verified, and of that cluster. Raises EtcdupError."""
    if named != LATEST:
        _refuse_other(named, cluster_of(named), cluster)
    path, manifest = await fetch(store, cluster, named, folder, report=report)
    _refuse_other(manifest.name, manifest.cluster, cluster)
    return _of(await asyncio.to_thread(read_snapshot, path), manifest)


def from_file(path: Path, cluster: str) -> SnapshotFile:
    """Read whole. A manifest beside it, as `backup now` leaves one in a folder, says whose it is."""
    snapshot = read_snapshot(path)
    manifest = _beside(path)
    if manifest is None:
        return snapshot
    _refuse_other(str(path), manifest.cluster, cluster)
    if (manifest.size, manifest.sha256) != (snapshot.size, snapshot.sha256):
        raise RefusedError(
            f"{path} is not what {manifest.name + MANIFEST} beside it tells of: it has another sha256",
            hint="take another backup; to restore this file all the same, move it away from that manifest",
        )
    return _of(snapshot, manifest)


def _of(snapshot: SnapshotFile, manifest: Manifest) -> SnapshotFile:
    origin = f"backup {manifest.name} of cluster {manifest.cluster}"
    return replace(snapshot, origin=origin)


def _beside(path: Path) -> Manifest | None:
    beside = path.with_suffix(MANIFEST)
    if path.suffix != DATABASE or not beside.is_file():
        return None
    try:
        return read_manifest(beside.read_bytes(), path.stem)
    except (NotAManifest, OSError):
        return None


def _refuse_other(what: str, owner: str | None, cluster: str) -> None:
    if owner != cluster:
        raise RefusedError(
            f"{what} is of cluster {owner}, not of {cluster}",
            hint=f"`--from-cluster {owner}` restores it here all the same, as a clone",
        )
