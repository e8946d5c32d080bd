"""The snapshot to restore: a file on this machine, or a backup in a destination, by its name.

If a file with that name exists, it is the snapshot. Otherwise, a name that is the name of a backup is looked up in the
backup destinations.
"""

import asyncio
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
from etcdup.errors import RefusedError, UsageError
from etcdup.ops.backups.backups import IDENTITY_HINT, Report
from etcdup.ops.backups.destinations import (
    LATEST,
    Contents,
    Destinations,
    Fetched,
    Warn,
    fetch_whole,
    list_destinations,
    warn_of_newer,
)
from etcdup.ops.backups.encryption import Identity, decrypt_file
from etcdup.ops.backups.snapshot_file import read_snapshot, verify_snapshot
from etcdup.ops.backups.trust import MANIFEST_KIND, UNSIGNED_HINT, NotUsed, Trust

_AGE = ".age"


@dataclass(frozen=True)
class SnapshotSource:
    """What the operator named, the cluster that it must come from, and the key if it is encrypted.

    `trust` says which manifests are used.
    """

    named: Path
    cluster: str
    trust: Trust
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
    contents = await list_source(places, source, warn)
    fetched = await fetch_backup(contents, source, folder, report, warn, begun)
    return _with_manifest(await asyncio.to_thread(read_snapshot, fetched.path), fetched.manifest)


async def list_source(places: Destinations, source: SnapshotSource, warn: Warn) -> Contents:
    """List the backups of the cluster. Warn of each destination that failed. Raises EtcdupError."""
    named = str(source.named)
    if not source.is_latest:
        _check_cluster(named, cluster_of_backup(named), source.cluster)
    contents = await list_destinations(places, source.cluster, source.trust)
    for error in contents.failed.values():
        warn(error.message)
    return contents


async def fetch_backup(
    contents: Contents, source: SnapshotSource, folder: Path, report: Report, warn: Warn, begun: str = ""
) -> Fetched:
    """Fetch the named backup as `fetch_source` does. The file is verified, and its database is not read."""
    resumed = _find_backup(contents, begun) if begun and source.is_latest else None
    name = resumed or _choose(contents, source, warn)
    fetched = await fetch_whole(
        contents.sources(name), name, folder, source.trust, report=report, warn=warn, identity=source.identity
    )
    _check_cluster(name, fetched.manifest.cluster, source.cluster)
    return fetched


def _choose(contents: Contents, source: SnapshotSource, warn: Warn) -> str:
    """Return the name of the backup. Warn of newer backups that etcdup does not use instead of `latest`."""
    entry = contents.chosen(source.cluster, str(source.named))
    if source.is_latest:
        warn_of_newer(contents, entry, warn)
    return entry.name


def _find_backup(contents: Contents, sha256: str) -> str | None:
    """Return the newest usable backup whose database has this sha256, or None."""
    found = (
        each.name for each in reversed(contents.usable) if each.manifest and each.manifest.sha256 == sha256
    )
    return next(found, None)


def verify_source(source: SnapshotSource, folder: Path) -> Path:
    """Return the path of a snapshot file after its checksum was verified. It is decrypted into `folder` if needed."""
    path = _decrypt_if_needed(source.named, source.identity, folder)
    verify_snapshot(path)
    return path


def read_source(source: SnapshotSource, folder: Path) -> SnapshotFile:
    """Read and check a snapshot file. An encrypted file is decrypted into `folder` first.

    A manifest next to it, as `backup now` writes one, contains the name of its cluster, and must be signed.
    """
    path = source.named
    snapshot = read_snapshot(_decrypt_if_needed(path, source.identity, folder))
    manifest = _read_adjacent_manifest(path, source.trust)
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
    if not path.exists():
        raise UsageError(
            f"{path} is neither a file nor the name of a backup",
            hint="run `etcdup backup list` to see the names of all backups, or pass the path of a snapshot file",
        )
    if path.suffix != _AGE or not path.is_file():
        return path
    if identity is None:
        raise UsageError(f"{path} is encrypted", hint=IDENTITY_HINT)
    target = folder / path.stem
    decrypt_file(path, target, identity)
    return target


def _with_manifest(snapshot: SnapshotFile, manifest: Manifest) -> SnapshotFile:
    origin = f"backup {manifest.name} of cluster {manifest.cluster}"
    # Any client of the store can write an unsigned manifest. The members in the file then show its cluster.
    return replace(snapshot, origin=origin, cluster_id=manifest.cluster_id if manifest.signed else "")


def _read_adjacent_manifest(path: Path, trust: Trust) -> Manifest | None:
    """Return the manifest next to the file, if there is one. Raises NotUsed if it is not signed."""
    name = path.name.removesuffix(_AGE).removesuffix(DATABASE)
    manifest = path.with_name(name + MANIFEST)
    if name == path.name or not manifest.is_file():
        return None
    try:
        text, fault = trust.open(MANIFEST_KIND, manifest.read_bytes())
        found = read_manifest(text, name)
    except (InvalidManifest, OSError):
        return None
    if fault and not trust.unsigned:
        hint = f"{UNSIGNED_HINT}, or move the file to a folder without that manifest"
        raise NotUsed(f"etcdup does not use {path} with {manifest.name} next to it", fault, hint)
    return replace(found, signed=not fault)


def _check_cluster(what: str, owner: str | None, cluster: str) -> None:
    if owner != cluster:
        raise RefusedError(
            f"{what} is from cluster {owner}, not from {cluster}",
            hint=f"check that this is the right backup. With `--from-cluster {owner}`, the data of {owner} replaces "
            f"the data of {cluster}",
        )
