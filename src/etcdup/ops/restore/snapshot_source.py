"""The snapshot to restore: a file on this machine, or a backup in a destination, by its name.

If a file with that name exists, it is the snapshot. Otherwise, a name that is the name of a backup is looked up in the
backup destinations.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from etcdup.core.backups.backups import (
    DATABASE,
    MANIFEST,
    InvalidManifest,
    Manifest,
    cluster_of_backup,
    read_manifest,
)
from etcdup.core.backups.snapshot import SnapshotFile
from etcdup.errors import EtcdupError, RefusedError, UsageError
from etcdup.ops.backups.backups import IDENTITY_HINT, Report, load_manifest
from etcdup.ops.backups.destinations import (
    LATEST,
    Contents,
    Destinations,
    Warn,
    fetch_whole,
    list_destinations,
)
from etcdup.ops.backups.encryption import Identity, decrypt_file
from etcdup.ops.backups.snapshot_file import read_snapshot

_AGE = ".age"


@dataclass(frozen=True)
class SnapshotSource:
    """What the operator named, the cluster that it must come from, and the key if it is encrypted."""

    named: Path
    cluster: str
    identity: Identity | None = None

    @property
    def is_in_store(self) -> bool:
        """Return whether this names a backup in a destination, not a file."""
        text = str(self.named)
        return not self.named.exists() and (
            text == LATEST or ("/" not in text and cluster_of_backup(text) is not None)
        )

    @property
    def is_latest(self) -> bool:
        """Return whether this names the newest backup, whatever its name."""
        return str(self.named) == LATEST and self.is_in_store


async def fetch_source(
    places: Destinations, source: SnapshotSource, folder: Path, report: Report, warn: Warn, begun: str = ""
) -> SnapshotFile:
    """Fetch the backup into `folder`, decrypted, from the first destination that has all of it. Raises EtcdupError.

    `begun` is the sha256 of the snapshot whose restore is in progress. `latest` is then that backup, also if there is a
    newer one: an interrupted restore is never continued with other data.
    """
    named = str(source.named)
    if not source.is_latest:
        _check_cluster(named, cluster_of_backup(named), source.cluster)
    contents = await list_destinations(places, source.cluster)
    for error in contents.failed.values():
        warn(error.message)
    resumed = await _find_backup(contents, begun) if begun and source.is_latest else None
    name = resumed or contents.chosen(source.cluster, named).name
    fetched = await fetch_whole(
        contents.holders(name), name, folder, report=report, warn=warn, identity=source.identity
    )
    _check_cluster(name, fetched.manifest.cluster, source.cluster)
    return _with_manifest(await asyncio.to_thread(read_snapshot, fetched.path), fetched.manifest)


async def _find_backup(contents: Contents, sha256: str) -> str | None:
    """Return the newest backup whose database has this sha256, or None. Manifests that are not readable are skipped."""
    for entry in reversed(contents.backups):
        for store in contents.holders(entry.name):
            with suppress(EtcdupError):
                if (await load_manifest(store, entry.name)).sha256 == sha256:
                    return entry.name
    return None


def read_source(source: SnapshotSource, folder: Path) -> SnapshotFile:
    """Read and check a snapshot file. An encrypted file is decrypted into `folder` first.

    A manifest next to it, as `backup now` writes one, contains the name of its cluster.
    """
    path = source.named
    snapshot = read_snapshot(_decrypt_if_needed(path, source.identity, folder))
    manifest = _read_adjacent_manifest(path)
    if manifest is None:
        return snapshot
    _check_cluster(str(path), manifest.cluster, source.cluster)
    if (manifest.size, manifest.sha256) != (snapshot.size, snapshot.sha256):
        raise RefusedError(
            f"{path} does not match {manifest.name + MANIFEST} next to it: its sha256 differs",
            hint="choose another backup (`etcdup backup list`). To restore this file anyway, move it to a folder "
            "without that manifest",
        )
    return _with_manifest(snapshot, manifest)


def _decrypt_if_needed(path: Path, identity: Identity | None, folder: Path) -> Path:
    if path.suffix != _AGE or not path.is_file():
        return path
    if identity is None:
        raise UsageError(f"{path} is encrypted", hint=IDENTITY_HINT)
    target = folder / path.stem
    decrypt_file(path, target, identity)
    return target


def _with_manifest(snapshot: SnapshotFile, manifest: Manifest) -> SnapshotFile:
    origin = f"backup {manifest.name} of cluster {manifest.cluster}"
    return replace(snapshot, origin=origin, cluster_id=manifest.cluster_id)


def _read_adjacent_manifest(path: Path) -> Manifest | None:
    name = path.name.removesuffix(_AGE).removesuffix(DATABASE)
    manifest = path.with_name(name + MANIFEST)
    if name == path.name or not manifest.is_file():
        return None
    try:
        return read_manifest(manifest.read_bytes(), name)
    except (InvalidManifest, OSError):
        return None


def _check_cluster(what: str, owner: str | None, cluster: str) -> None:
    if owner != cluster:
        raise RefusedError(
            f"{what} is from cluster {owner}, not from {cluster}",
            hint=f"pass `--from-cluster {owner}` to restore it here anyway, as a clone",
        )
