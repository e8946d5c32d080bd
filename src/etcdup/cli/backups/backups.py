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

# A status must not wait for a store that is gone.
_STATUS_TIMEOUT_S = 5.0


def destinations_of(session: Session) -> Destinations:
    return open_destinations(session.spec.backup, session.folder)


def take_now(file: Path, *, as_json: bool) -> int:
    session = Session.begin(file)
    places = destinations_of(session)
    taken = session.run(_take(session, places), lambda: _interrupted_text(places))
    if as_json:
        facts = _manifest_json(taken.manifest) | {"places": list(taken.destinations)} | _seconds(taken)
        print_json(session, facts | {"failed": failed_json(taken.failed)})
    else:
        _print_taken(session, taken)
    for place, error in taken.failed.items():
        raise EtcdupError(
            f"backup {taken.manifest.name} is not in {place}: {error.message}",
            detail=_other_failures(taken.failed, place),
            hint=error.hint,
        )
    return EXIT_DONE


def _interrupted_text(places: Destinations) -> str:
    left = " and ".join(store.destination for store in places.stores if store.left_parts)
    parts = (
        f"; {left} gave no answer: parts of the upload may lie there until its lifecycle rules delete them"
    )
    return f"interrupted; what was written is not listed{parts if left else ''}"


def _print_taken(session: Session, taken: TakenBackup) -> None:
    manifest = taken.manifest
    session.terminal.print_data(
        f"backup {manifest.name} is in {' and '.join(taken.destinations)}: {show_size(manifest.size)}, "
        f"revision {manifest.revision}, {count_text(manifest.keys, 'key')}, from {manifest.member}; "
        f"{_read_back_text(manifest)}\n"
    )
    with_key = " --identity FILE" if manifest.encrypted_to else ""
    session.terminal.say(f"it is not proved yet: `etcdup backup drill{with_key}` restores it on this machine")


def _read_back_text(manifest: Manifest) -> str:
    return "encrypted, and read back as it was written" if manifest.encrypted_to else "read back and whole"


def _other_failures(failed: Failures, first: str) -> str:
    return "\n".join(f"nor in {place}: {error.message}" for place, error in failed.items() if place != first)


async def _take(session: Session, places: Destinations) -> TakenBackup:
    async with session.world() as world:
        observed = await session.observe(world)
        if under_way := refuse_unfinished_restore(session.spec, observed):
            raise_refusal(Refusal(session.spec.name, under_way))
        member = backup_source(observed)
        if member is None:
            raise EtcdupError(
                "no member is healthy enough to take a backup from", hint="`etcdup status` shows why"
            )
        listed = observed.answering()[member].members
        members = {each.name: ", ".join(each.peer_urls) for each in listed}
        client = await world.connect_directly(member)
        with _journal_entry(session, member, places) as facts:
            async with session.terminal.wait_notice(f"backup from {member} into {places.title}"):
                taken = await take_backup(
                    places, client, session.spec.name, members,
                    report=session.terminal.report, encrypt_to=session.spec.backup.encrypt_to,
                )  # fmt: skip
            failed = {place: error.message for place, error in taken.failed.items()}
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
def _journal_entry(session: Session, member: str, places: Destinations) -> Iterator[dict[str, object]]:
    """A line before anything is written, and one at the end of the block with the facts that it has gathered."""
    facts: dict[str, object] = {"member": member}
    with Journal.in_folder(session.folder, session.spec.name) as journal:
        journal.record(
            "backup begun", {"member": member, "to": [store.destination for store in places.stores]}
        )
        try:
            yield facts
        except BaseException as error:
            facts["failed"] = str(error) or type(error).__name__
            raise
        finally:
            journal.record("backup", facts)


def list_backups(file: Path, *, as_json: bool) -> int:
    """Ends with 1 where a place could not be looked into: what it has is then not known."""
    session = Session.begin(file)
    places = destinations_of(session)
    contents, manifests = session.run(_read_manifests(session, places))
    now, found = datetime.now(UTC), contents.backups
    if as_json:
        rows = [
            _listed_json(each, manifests.get(each.name)) | {"places": _destinations_of(contents, each)}
            for each in found
        ]
        print_json(session, {**contents_json(contents), "backups": rows})
    else:
        several = len(places.stores) + len(places.failed) > 1
        for each in found:
            where = f"  in {' and '.join(_destinations_of(contents, each))}" if several else ""
            session.terminal.print_data(f"{_row(each, manifests.get(each.name), now)}{where}\n")
        if not found:
            session.terminal.say(
                f"{' and '.join(store.destination for store in contents.found)} holds no backup of "
                f"{session.spec.name}; `etcdup backup now` takes one"
            )
    return warn_of_failed(session, contents)


def _destinations_of(contents: Contents, each: BackupEntry) -> list[str]:
    return [store.destination for store in contents.holders(each.name)]


def warn_of_failed(session: Session, contents: Contents) -> int:
    """The exit code that follows from it."""
    for error in contents.failed.values():
        session.terminal.warn(error.message)
    return EXIT_FAILED if contents.failed else EXIT_DONE


async def _read_manifests(session: Session, places: Destinations) -> tuple[Contents, dict[str, Manifest]]:
    async with session.terminal.wait_notice(f"looking into {places.title}"):
        contents = await list_destinations(places, session.spec.name)
        manifests = {}
        for each in contents.backups:
            for store in reversed(contents.holders(each.name)):
                with suppress(EtcdupError):
                    manifests[each.name] = await backups.load_manifest(store, each.name)
    return contents, manifests


def _row(each: BackupEntry, manifest: Manifest | None, now: datetime) -> str:
    facts = "its manifest is damaged"
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
        _prune(session, destinations_of(session), yes=yes), lambda: "interrupted; run it again"
    )
    if as_json:
        names = sorted({each.name for _, each in gone})
        copies = [{"name": each.name, "place": store.destination} for store, each in gone]
        print_json(session, {"deleted": names, "copies": copies})
    return EXIT_DONE


async def _prune(session: Session, places: Destinations, *, yes: bool) -> list[tuple[Store, BackupEntry]]:
    contents = await list_destinations(places, session.spec.name)
    for error in contents.failed.values():  # which is the newest proved one is then not known
        raise EtcdupError(f"nothing was deleted: {error.message}", hint=error.hint)
    terminal, now, several = session.terminal, datetime.now(UTC), len(contents.found) > 1
    going = _backups_to_delete(session, contents)
    for store, each in going:
        terminal.say(
            f"  - {each.name}  {_age(each, now)} old" + (f"  in {store.destination}" if several else "")
        )
    count = sum(len(there) for there in contents.found.values())
    terminal.say(f"{count - len(going)} of {count_text(count, 'backup')} in {places.title} stay")
    if not going:
        return []
    if not yes:
        if not terminal.can_confirm:
            raise UsageError(
                "there is nobody to ask whether they shall be deleted", hint="`--yes` does it without asking"
            )
        if not await terminal.confirm(f"Delete {count_text(len(going), 'backup')} for good?"):
            raise Interrupted("nothing was deleted")
    for store, each in going:
        await backups.delete(store, each.name)
    terminal.say(f"{count_text(len(going), 'backup')} deleted")
    return going


def _backups_to_delete(session: Session, contents: Contents) -> list[tuple[Store, BackupEntry]]:
    keep, all_of_them = session.spec.backup.keep, contents.backups
    return [
        (store, each)
        for store, there in contents.found.items()
        for each in backups_to_prune_at(there, all_of_them, keep)
    ]


async def find_last_backups(spec: Spec, folder: Path) -> dict[str, Any]:
    """For `status`: the newest backup and the newest proved one, where the newest is lacking, and which places
    cannot be asked. Looking must not make a folder."""
    none: dict[str, Any] = {"last": None, "last_proved": None, "why": None, "lacking": []}
    there = [place for place in spec.backup.to if not await asyncio.to_thread(is_missing, place, folder)]
    if not there:
        return none
    try:
        places = open_destinations(spec.backup.model_copy(update={"to": tuple(there)}), folder)
        contents = await list_destinations(places, spec.name, within_s=_STATUS_TIMEOUT_S)
    except EtcdupError as error:
        return none | {"why": error.message}
    found = contents.backups
    proved = [each for each in found if each.proved]
    told = {"last": found[-1] if found else None, "last_proved": proved[-1] if proved else None}
    return {
        **{key: each and _listed_json(each, None) for key, each in told.items()},
        "why": "; ".join(error.message for error in contents.failed.values()) or None,
        "lacking": _destinations_without_newest(spec, there, contents),
    }


def _destinations_without_newest(spec: Spec, there: list[str], contents: Contents) -> list[str]:
    if not contents.backups:
        return []
    holders = contents.holders(contents.backups[-1].name)
    missing = [place for place in spec.backup.to if place not in there]
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
    return [{"place": place, "why": error.message} for place, error in failed.items()]


def print_json(session: Session, facts: dict[str, Any]) -> None:
    session.terminal.print_data(json_text({"format": 1, **facts}))
