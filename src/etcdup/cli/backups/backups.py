"""`etcdup backup now`, `list` and `prune`."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.backups.backups import BackupEntry, Manifest, backup_source, backups_to_prune_at
from etcdup.core.plan.plan import Refusal
from etcdup.core.restore.stopped_check import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_duration, show_size
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, UsageError
from etcdup.ops.backups import backups
from etcdup.ops.backups.destinations import (
    Contents,
    Destinations,
    Failures,
    list_destinations,
    open_destinations,
)
from etcdup.ops.backups.open_store import is_missing
from etcdup.ops.backups.store import Store
from etcdup.ops.backups.take import TakenBackup, take_backup
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.refusal import raise_refusal

# `status` must not wait long for a destination that does not respond.
_STATUS_TIMEOUT_S = 5.0


def destinations_of(session: Session) -> Destinations:
    return open_destinations(session.spec.backup, session.folder)


def take_now(file: Path, *, as_json: bool) -> int:
    session = Session.begin(file)
    destinations = destinations_of(session)
    taken = session.run(_take(session, destinations), lambda: _interrupted_text(destinations))
    if as_json:
        facts = _manifest_json(taken.manifest) | {"places": list(taken.destinations)} | _seconds(taken)
        print_json(session, facts | {"failed": failed_json(taken.failed)})
    else:
        _print_taken(session, taken)
    for destination, error in taken.failed.items():
        raise EtcdupError(
            f"backup {taken.manifest.name} is not in {destination}: {error.message}",
            detail=_other_failures(taken.failed, destination),
            hint=error.hint,
        )
    return EXIT_DONE


def _interrupted_text(destinations: Destinations) -> str:
    left = " and ".join(store.destination for store in destinations.stores if store.left_parts)
    parts = (
        f"; {left} did not respond: parts of the upload may stay there until a lifecycle rule deletes them"
    )
    return f"interrupted; no incomplete backup is listed{parts if left else ''}"


def _print_taken(session: Session, taken: TakenBackup) -> None:
    manifest = taken.manifest
    session.terminal.print_data(
        f"backup {manifest.name} is in {' and '.join(taken.destinations)}: {show_size(manifest.size)}, "
        f"revision {manifest.revision}, {count_text(manifest.keys, 'key')}, from {manifest.member}; "
        f"{_read_back_text(manifest)}\n"
    )
    with_key = " --identity FILE" if manifest.encrypted_to else ""
    session.terminal.say(
        f"it is not proved yet: run `etcdup backup drill{with_key}` to restore it into a temporary etcd on this machine"
    )


def _read_back_text(manifest: Manifest) -> str:
    return "encrypted; read back unchanged" if manifest.encrypted_to else "read back and complete"


def _other_failures(failed: Failures, first: str) -> str:
    return "\n".join(
        f"also not in {destination}: {error.message}"
        for destination, error in failed.items()
        if destination != first
    )


async def _take(session: Session, destinations: Destinations) -> TakenBackup:
    async with session.world() as world:
        observed = await session.observe(world)
        if under_way := refuse_unfinished_restore(session.spec, observed):
            raise_refusal(Refusal(session.spec.name, under_way))
        member = backup_source(observed)
        if member is None:
            raise EtcdupError(
                "no member is healthy enough to take a backup from", hint="run `etcdup status` to see why"
            )
        listed = observed.answering()[member].members
        members = {each.name: ", ".join(each.peer_urls) for each in listed}
        client = await world.connect_directly(member)
        with _journal_entry(session, member, destinations) as facts:
            async with session.terminal.wait_notice(f"backup from {member} into {destinations.title}"):
                taken = await take_backup(
                    destinations, client, session.spec.name, members,
                    report=session.terminal.report, encrypt_to=session.spec.backup.encrypt_to,
                )  # fmt: skip
            failed = {destination: error.message for destination, error in taken.failed.items()}
            facts |= {
                "name": taken.manifest.name,
                "to": list(taken.destinations),
                "sha256": taken.manifest.sha256,
            }
            facts |= _seconds(taken) | ({"failed": failed} if failed else {})
    return taken


def _seconds(taken: TakenBackup) -> dict[str, float]:
    return {"written_s": taken.written_s, "read_back_s": taken.read_back_s}


@contextmanager
def _journal_entry(session: Session, member: str, destinations: Destinations) -> Iterator[dict[str, object]]:
    """Write a journal line before the backup, and one at the end of the block with the facts that it collected."""
    facts: dict[str, object] = {"member": member}
    with Journal.in_folder(session.folder, session.spec.name) as journal:
        journal.record(
            "backup begun", {"member": member, "to": [store.destination for store in destinations.stores]}
        )
        try:
            yield facts
        except BaseException as error:
            facts["failed"] = str(error) or type(error).__name__
            raise
        finally:
            journal.record("backup", facts)


def list_backups(file: Path, *, as_json: bool) -> int:
    """Print all backups. Return 1 if a destination could not be read, because its backups are then unknown."""
    session = Session.begin(file)
    destinations = destinations_of(session)
    contents, manifests = session.run(_read_manifests(session, destinations))
    now, found = datetime.now(UTC), contents.backups
    if as_json:
        rows = [
            _listed_json(each, manifests.get(each.name)) | {"places": _destinations_of(contents, each)}
            for each in found
        ]
        print_json(session, {**contents_json(contents), "backups": rows})
    else:
        several = len(destinations.stores) + len(destinations.failed) > 1
        for each in found:
            where = f"  in {' and '.join(_destinations_of(contents, each))}" if several else ""
            session.terminal.print_data(f"{_row(each, manifests.get(each.name), now)}{where}\n")
        if not found:
            session.terminal.say(
                f"{' and '.join(store.destination for store in contents.found)} has no backup of "
                f"{session.spec.name}; run `etcdup backup now` to take one"
            )
    return warn_of_failed(session, contents)


def _destinations_of(contents: Contents, each: BackupEntry) -> list[str]:
    return [store.destination for store in contents.holders(each.name)]


def warn_of_failed(session: Session, contents: Contents) -> int:
    """Warn of each destination that failed, and return the exit code."""
    for error in contents.failed.values():
        session.terminal.warn(error.message)
    return EXIT_FAILED if contents.failed else EXIT_DONE


async def _read_manifests(
    session: Session, destinations: Destinations
) -> tuple[Contents, dict[str, Manifest]]:
    async with session.terminal.wait_notice(f"reading {destinations.title}"):
        contents = await list_destinations(destinations, session.spec.name)
        manifests = {}
        for each in contents.backups:
            for store in reversed(contents.holders(each.name)):
                with suppress(EtcdupError):
                    manifests[each.name] = await backups.load_manifest(store, each.name)
    return contents, manifests


def _row(each: BackupEntry, manifest: Manifest | None, now: datetime) -> str:
    facts = "manifest damaged"
    if manifest:
        facts = f"{show_size(manifest.size)}, revision {manifest.revision}, etcd {manifest.version}"
        facts += ", encrypted" if manifest.encrypted_to else ""
    proved = "proved" if each.proved else "not proved"
    return f"{each.name}  {_age(each, now)} old  {facts}  {proved}"


def _age(each: BackupEntry, now: datetime) -> str:
    return show_duration(max((now - each.taken_at).total_seconds(), 0))


def prune_backups(file: Path, *, yes: bool, as_json: bool) -> int:
    session = Session.begin(file)
    gone = session.run(
        _prune(session, destinations_of(session), yes=yes),
        lambda: "interrupted; run `etcdup backup prune` again",
    )
    if as_json:
        names = sorted({each.name for _, each in gone})
        copies = [{"name": each.name, "place": store.destination} for store, each in gone]
        print_json(session, {"deleted": names, "copies": copies})
    return EXIT_DONE


async def _prune(
    session: Session, destinations: Destinations, *, yes: bool
) -> list[tuple[Store, BackupEntry]]:
    contents = await list_destinations(destinations, session.spec.name)
    for error in contents.failed.values():  # The newest proved backup is then not known.
        raise EtcdupError(f"nothing was deleted: {error.message}", hint=error.hint)
    terminal, now, several = session.terminal, datetime.now(UTC), len(contents.found) > 1
    obsolete = _backups_to_delete(session, contents)
    for store, each in obsolete:
        terminal.say(
            f"  - {each.name}  {_age(each, now)} old" + (f"  in {store.destination}" if several else "")
        )
    count = sum(len(there) for there in contents.found.values())
    terminal.say(f"{count - len(obsolete)} of {count_text(count, 'backup')} in {destinations.title} are kept")
    if not obsolete:
        return []
    if not yes:
        if not terminal.can_confirm:
            raise UsageError(
                f"confirmation required, but {terminal.why_no_question}",
                hint="pass `--yes` to skip the confirmation",
            )
        if not await terminal.confirm(f"Permanently delete {count_text(len(obsolete), 'backup')}?"):
            raise Interrupted("nothing was deleted")
    for store, each in obsolete:
        await backups.delete(store, each.name)
    terminal.say(f"{count_text(len(obsolete), 'backup')} deleted")
    return obsolete


def _backups_to_delete(session: Session, contents: Contents) -> list[tuple[Store, BackupEntry]]:
    keep, all_of_them = session.spec.backup.keep, contents.backups
    return [
        (store, each)
        for store, there in contents.found.items()
        for each in backups_to_prune_at(there, all_of_them, keep)
    ]


async def find_last_backups(spec: Spec, folder: Path) -> dict[str, Any]:
    """Return for `status`: the newest backup, the newest proved one, and the destinations without the newest one.

    `why` says which destinations failed. A folder that does not exist is not created.
    """
    none: dict[str, Any] = {"last": None, "last_proved": None, "why": None, "lacking": []}
    existing = [
        destination
        for destination in spec.backup.to
        if not await asyncio.to_thread(is_missing, destination, folder)
    ]
    if not existing:
        return none
    try:
        destinations = open_destinations(spec.backup.model_copy(update={"to": tuple(existing)}), folder)
        contents = await list_destinations(destinations, spec.name, within_s=_STATUS_TIMEOUT_S)
    except EtcdupError as error:
        return none | {"why": error.message}
    found = contents.backups
    proved = [each for each in found if each.proved]
    newest = {"last": found[-1] if found else None, "last_proved": proved[-1] if proved else None}
    return {
        **{key: each and _listed_json(each, None) for key, each in newest.items()},
        "why": "; ".join(error.message for error in contents.failed.values()) or None,
        "lacking": _destinations_without_newest(spec, existing, contents),
    }


def _destinations_without_newest(spec: Spec, existing: list[str], contents: Contents) -> list[str]:
    if not contents.backups:
        return []
    holders = contents.holders(contents.backups[-1].name)
    missing = [destination for destination in spec.backup.to if destination not in existing]
    return [*(store.destination for store in contents.found if store not in holders), *missing]


def _listed_json(each: BackupEntry, manifest: Manifest | None) -> dict[str, Any]:
    facts = {"name": each.name, "taken_at": each.taken_at.isoformat(), "proved": each.proved}
    return _manifest_json(manifest) | facts if manifest else facts


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    return asdict(manifest) | {"taken_at": manifest.taken_at.isoformat()}


def contents_json(contents: Contents) -> dict[str, Any]:
    return {
        "places": [store.destination for store in contents.found],
        "failed": failed_json(contents.failed),
    }


def failed_json(failed: Failures) -> list[dict[str, str]]:
    return [{"place": destination, "why": error.message} for destination, error in failed.items()]


def print_json(session: Session, facts: dict[str, Any]) -> None:
    session.terminal.print_data(json_text({"format": 1, **facts}))
