"""All destinations of `backup.to` together. A failure of one destination does not stop the others."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.core.backups.backups import BackupEntry, Manifest, merge_backups
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import EtcdupError, UsageError
from etcdup.ops.backups.backups import Damaged, Report, fetch, list_backups
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.open_store import open_store
from etcdup.ops.backups.store import ObjectNotFound, Store, StoreError

LATEST = "latest"
Failures = Mapping[str, EtcdupError]
Warn = Callable[[str], None]


@dataclass(frozen=True)
class Destinations:
    """The destinations that were opened, in the order of `backup.to`, and the errors of the others."""

    stores: tuple[Store, ...]
    failed: Failures = field(default_factory=dict)

    @property
    def title(self) -> str:
        return " and ".join((*(store.destination for store in self.stores), *self.failed))


def open_destinations(backup: BackupSpec, folder: Path) -> Destinations:
    """Open all destinations. `folder` is that of cluster.yaml. Raises EtcdupError if none is usable."""
    stores, failed = [], {}
    for destination in backup.to:
        try:
            stores.append(open_store(backup, destination, folder))
        except EtcdupError as error:
            failed[destination] = error
    if not stores:
        raise combined_error(failed)
    return Destinations(tuple(stores), failed)


@dataclass(frozen=True)
class Contents:
    """The complete backups of one cluster by destination, and the errors of destinations that could not be listed."""

    found: Mapping[Store, tuple[BackupEntry, ...]]
    failed: Failures = field(default_factory=dict)

    @property
    def backups(self) -> tuple[BackupEntry, ...]:
        return merge_backups(self.found.values())

    def holders(self, name: str) -> tuple[Store, ...]:
        return tuple(store for store, there in self.found.items() if name in {each.name for each in there})

    def chosen(self, cluster: str, name: str) -> BackupEntry:
        """Return the backup with this name, or the newest one for `latest`. Raises ObjectNotFound."""
        for each in reversed(self.backups):
            if name in (LATEST, each.name):
                return each
        what = f"no backup of {cluster}" if name == LATEST else f"no complete backup {name} of {cluster}"
        listed = " and ".join(store.destination for store in self.found)
        raise ObjectNotFound(
            f"there is {what} in {listed}", hint="run `etcdup backup list` to see all backups"
        )


async def list_destinations(
    destinations: Destinations, cluster: str, *, within_s: float | None = None
) -> Contents:
    """List the backups of all destinations at once. Raises EtcdupError if none could be listed."""
    listings = (_list_destination(store, cluster, within_s) for store in destinations.stores)
    results = await asyncio.gather(*listings, return_exceptions=True)
    found, failed = {}, dict(destinations.failed)
    for store, result in zip(destinations.stores, results, strict=True):
        if isinstance(result, EtcdupError):
            failed[store.destination] = result
        elif isinstance(result, BaseException):
            raise result
        else:
            found[store] = result
    if not found:
        raise combined_error(failed)
    return Contents(found, failed)


async def _list_destination(store: Store, cluster: str, within_s: float | None) -> tuple[BackupEntry, ...]:
    try:
        async with asyncio.timeout(within_s):
            return await list_backups(store, cluster)
    except TimeoutError:
        raise StoreError(f"{store.destination} did not respond within {within_s:g} s") from None


@dataclass(frozen=True)
class Fetched:
    """A backup on this machine, and the store that it comes from."""

    path: Path
    manifest: Manifest
    store: Store


async def fetch_whole(
    stores: Sequence[Store],
    name: str,
    folder: Path,
    *,
    report: Report,
    warn: Warn,
    identity: Identity | None = None,
) -> Fetched:
    """Fetch a backup from the first store that has a complete copy. Warn of each store that failed before.

    Raises EtcdupError if no store has a complete copy.
    """
    failed: dict[str, EtcdupError] = {}
    for store in stores:
        try:
            path, manifest = await fetch(store, name, folder, report=report, identity=identity)
        except UsageError:
            raise  # A wrong or missing key is wrong for all stores.
        except EtcdupError as error:
            failed[store.destination] = error
            continue
        for why in failed.values():
            warn(f"{why.message}; etcdup uses the copy in {store.destination} instead")
        return Fetched(path, manifest, store)
    raise combined_error(failed)


def combined_error(failed: Failures) -> EtcdupError:
    """Return the error of the only destination, or one error that contains those of all destinations."""
    errors = list(failed.values())
    if len(errors) == 1:
        return errors[0]
    kind = Damaged if all(isinstance(error, Damaged) for error in errors) else EtcdupError
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    lines = (f"{error.message}\n{error.detail}".strip() for error in errors)
    return kind(f"all {len(errors)} destinations failed", detail="\n".join(lines), hint="\n".join(hints))
