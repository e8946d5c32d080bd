"""All destinations of `backup.to` together. A failure of one destination does not stop the others."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etcdup.core.backups.backups import BackupEntry, Manifest, merge_backups
from etcdup.core.spec.model import BackupSpec
from etcdup.errors import EtcdupError, RefusedError, UsageError
from etcdup.ops.backups.backups import Damaged, Report, fetch, list_backups
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.open_store import is_missing, open_store
from etcdup.ops.backups.store import ObjectNotFound, Store, StoreError
from etcdup.ops.backups.trust import Trust

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


async def existing_destinations(backup: BackupSpec, folder: Path) -> BackupSpec:
    """Return the section with only the destinations that exist. A folder that does not exist is not created."""
    missing = [await asyncio.to_thread(is_missing, destination, folder) for destination in backup.to]
    found = (destination for destination, gone in zip(backup.to, missing, strict=True) if not gone)
    return backup.model_copy(update={"to": tuple(found)})


@dataclass(frozen=True)
class Contents:
    """The complete backups of one cluster by destination, and the errors of destinations that could not be listed."""

    found: Mapping[Store, tuple[BackupEntry, ...]]
    failed: Failures = field(default_factory=dict)

    @property
    def backups(self) -> tuple[BackupEntry, ...]:
        """Return all backups, the oldest first. Those with a fault are not used."""
        return merge_backups(self.found.values())

    @property
    def usable(self) -> tuple[BackupEntry, ...]:
        return tuple(each for each in self.backups if not each.fault)

    def holders(self, name: str) -> tuple[Store, ...]:
        """Return the stores that have this name, also those whose copy is not used."""
        return tuple(store for store, there in self.found.items() if name in {each.name for each in there})

    def sources(self, name: str) -> tuple[Store, ...]:
        """Return the stores to read this backup from: signed copies first. Without a usable copy, return all holders.

        The read then fails with the reason.
        """
        copies = {
            store: each
            for store, there in self.found.items()
            for each in there
            if each.name == name and not each.fault
        }
        return tuple(sorted(copies, key=lambda store: not copies[store].signed)) or self.holders(name)

    def newer_with_fault(self, chosen: BackupEntry) -> tuple[BackupEntry, ...]:
        """Return the backups that are newer than this one, and that etcdup does not use."""
        return tuple(each for each in self.backups if each.fault and each.taken_at > chosen.taken_at)

    def chosen(self, cluster: str, name: str) -> BackupEntry:
        """Return the backup with this name, or the newest usable one for `latest`. Raises ObjectNotFound.

        If none is usable, return the newest one. To read it fails with the reason.
        """
        found = sorted(self.backups, key=lambda each: (not each.fault, each.taken_at), reverse=True)
        for each in found:
            if name in (LATEST, each.name):
                return each
        listed = " and ".join(store.destination for store in self.found)
        if name == LATEST:
            what, hint = f"no backup of {cluster}", "run `etcdup backup now` to take one"
        else:
            what = f"no complete backup {name} of {cluster}"
            hint = "run `etcdup backup list` to see all backups"
        raise ObjectNotFound(f"there is {what} in {listed}", hint=hint)


async def list_destinations(
    destinations: Destinations, cluster: str, trust: Trust, *, within_s: float | None = None
) -> Contents:
    """List the backups of all destinations at once. Raises EtcdupError if none could be listed."""
    listings = (_list_destination(store, cluster, trust, within_s) for store in destinations.stores)
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


async def _list_destination(
    store: Store, cluster: str, trust: Trust, within_s: float | None
) -> tuple[BackupEntry, ...]:
    try:
        async with asyncio.timeout(within_s):
            return await list_backups(store, cluster, trust)
    except TimeoutError:
        raise StoreError(f"{store.destination} did not respond within {within_s:g} s") from None


def warn_of_newer(contents: Contents, chosen: BackupEntry, warn: Warn) -> None:
    """Warn of each backup that is newer than the chosen one, and that etcdup does not use."""
    for each in contents.newer_with_fault(chosen):
        where = " and ".join(store.destination for store in contents.holders(each.name))
        warn(f"{each.name} in {where} is newer than {chosen.name}, and is not used: {each.fault}")


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
    trust: Trust,
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
            path, manifest = await fetch(store, name, folder, trust, report=report, identity=identity)
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
    kinds = (Damaged, RefusedError)
    kind = next((kind for kind in kinds if all(isinstance(each, kind) for each in errors)), EtcdupError)
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    lines = (f"{error.message}\n{error.detail}".strip() for error in errors)
    return kind(f"all {len(errors)} destinations failed", detail="\n".join(lines), hint="\n".join(hints))
