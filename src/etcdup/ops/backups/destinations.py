"""All the places that `backup.to` names, looked at together. What one of them cannot do, another may."""

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
    """Those that could be opened, in the order of `backup.to`, and why the others could not."""

    stores: tuple[Store, ...]
    failed: Failures = field(default_factory=dict)

    @property
    def title(self) -> str:
        return " and ".join((*(store.destination for store in self.stores), *self.failed))


def open_destinations(backup: BackupSpec, folder: Path) -> Destinations:
    """`folder` is cluster.yaml's own. Raises StoreError where there is none that can be used."""
    stores, failed = [], {}
    for place in backup.to:
        try:
            stores.append(open_store(backup, place, folder))
        except EtcdupError as error:
            failed[place] = error
    if not stores:
        raise combined_error(failed)
    return Destinations(tuple(stores), failed)


@dataclass(frozen=True)
class Contents:
    """The whole backups of one cluster by place, and which places could not be looked into."""

    found: Mapping[Store, tuple[BackupEntry, ...]]
    failed: Failures = field(default_factory=dict)

    @property
    def backups(self) -> tuple[BackupEntry, ...]:
        return merge_backups(self.found.values())

    def holders(self, name: str) -> tuple[Store, ...]:
        return tuple(store for store, there in self.found.items() if name in {each.name for each in there})

    def chosen(self, cluster: str, name: str) -> BackupEntry:
        """The backup of that name, or the newest for `latest`. Raises NotThere."""
        for each in reversed(self.backups):
            if name in (LATEST, each.name):
                return each
        what = f"no backup of {cluster}" if name == LATEST else f"no whole backup {name} of {cluster}"
        places = " and ".join(store.destination for store in self.found)
        raise ObjectNotFound(f"{places} holds {what}", hint="`etcdup backup list` shows what there is")


async def list_destinations(places: Destinations, cluster: str, *, within_s: float | None = None) -> Contents:
    """Raises where none could be looked into."""
    looks = (_list_destination(store, cluster, within_s) for store in places.stores)
    results = await asyncio.gather(*looks, return_exceptions=True)
    found, failed = {}, dict(places.failed)
    for store, result in zip(places.stores, results, strict=True):
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
        raise StoreError(f"{store.destination} gave no answer within {within_s:g} s") from None


@dataclass(frozen=True)
class Fetched:
    """A backup on this machine, and whose copy it is."""

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
    """From the first that has it whole; of those before it is warned. Raises where none has."""
    failed: dict[str, EtcdupError] = {}
    for store in stores:
        try:
            path, manifest = await fetch(store, name, folder, report=report, identity=identity)
        except UsageError:
            raise  # the wrong key, or none: no other place would open with it
        except EtcdupError as error:
            failed[store.destination] = error
            continue
        for why in failed.values():
            warn(f"{why.message}; taken from {store.destination} instead")
        return Fetched(path, manifest, store)
    raise combined_error(failed)


def combined_error(failed: Failures) -> EtcdupError:
    """The error of the one place that there is, or those of all as one."""
    errors = list(failed.values())
    if len(errors) == 1:
        return errors[0]
    kind = Damaged if all(isinstance(error, Damaged) for error in errors) else EtcdupError
    hints = dict.fromkeys(error.hint for error in errors if error.hint)
    lines = (f"{error.message}\n{error.detail}".strip() for error in errors)
    return kind(f"all {len(errors)} places failed", detail="\n".join(lines), hint="\n".join(hints))
