"""`etcdup backup now` and `list`, and the backups that `status` shows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.core.backups.backups import BackupEntry, Manifest, backup_source
from etcdup.core.certs.generation import refuse_stale_pki
from etcdup.core.observed.model import Observed
from etcdup.core.plan.plan import Refusal
from etcdup.core.restore.unfinished import refuse_unfinished_restore
from etcdup.core.spec.model import Spec
from etcdup.core.spec.units import show_duration, show_size
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, PkiError, UsageError
from etcdup.ops.backups.destinations import (
    Contents,
    Destinations,
    Failures,
    existing_destinations,
    list_destinations,
    open_destinations,
)
from etcdup.ops.backups.one_heap import use_one_heap
from etcdup.ops.backups.pki_backup import seal_pki
from etcdup.ops.backups.take import TakenBackup, take_backup
from etcdup.ops.backups.trust import OTHER_KEY, Trust
from etcdup.ops.pki.backup_key import (
    BACKUP_KEY,
    BackupKey,
    pki_directory,
    read_backup_key,
    require_backup_key,
)
from etcdup.ops.world.activity import no_source, observe_activity
from etcdup.ops.world.journal import Journal
from etcdup.ops.world.refusal import raise_refusal

# `status` must not wait long for a destination that does not respond.
_STATUS_TIMEOUT_S = 5.0


def destinations_of(session: Session) -> Destinations:
    return open_destinations(session.spec.backup, session.folder)


def trust_of(session: Session, *, unsigned: bool = False) -> Trust:
    return Trust.of(session.spec, session.folder, unsigned=unsigned)


def take_now(file: Path, *, with_pki: bool, as_json: bool) -> int:
    session = Session.begin(file)
    if with_pki:
        _refuse_pki_backup(session.spec)
    use_one_heap()
    destinations = destinations_of(session)
    taken = session.run(
        _take(session, destinations, with_pki=with_pki), lambda: _interrupted_text(destinations)
    )
    if taken.manifest.pki_size:
        key = read_backup_key(pki_directory(session.spec, session.folder))
        session.terminal.say(f"the PKI directory is in the backup; {fingerprint_text(key)}")
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


def _refuse_pki_backup(spec: Spec) -> None:
    if spec.tls.mode == "provided":
        raise UsageError(
            "`--with-pki` is not possible with `tls.mode: provided`: the files are at other paths",
            hint="back up the certificates and keys, and `backup-key.pem` of `tls.dir`, with your own tools",
        )
    if spec.backup.encrypt_to is None:
        raise UsageError(
            "`--with-pki` needs `backup.encrypt_to` in cluster.yaml: the PKI directory has the CA key",
            hint="make a key with `age-keygen -o key.txt`, and set `encrypt_to` to its public key",
        )


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


def fingerprint_text(key: BackupKey | None) -> str:
    assert key is not None, "it signed the backup"
    return f"the fingerprint of its backup key is {key.fingerprint}"


async def _take(session: Session, destinations: Destinations, *, with_pki: bool) -> TakenBackup:
    async with session.world() as world:
        observed = session.require_formed(await session.observe(world))
        if under_way := refuse_unfinished_restore(session.spec, observed):
            raise_refusal(Refusal(session.spec.name, under_way))
        key = await _signing_key(session, destinations, observed)
        sealed_pki = await _sealed_pki(session) if with_pki else b""
        observed = await observe_activity(world, observed)
        member = backup_source(observed)
        if member is None:
            raise no_source(observed)
        listed = observed.answering()[member].members
        members = {each.name: ", ".join(each.peer_urls) for each in listed}
        client = await world.connect_directly(member)
        with _journal_entry(session, member, destinations) as facts:
            async with session.terminal.wait_notice(f"backup from {member} into {destinations.title}"):
                taken = await take_backup(
                    destinations, client, session.spec.name, members, key,
                    report=session.terminal.report, encrypt_to=session.spec.backup.encrypt_to,
                    sealed_pki=sealed_pki,
                )  # fmt: skip
            failed = {destination: error.message for destination, error in taken.failed.items()}
            facts |= {
                "name": taken.manifest.name,
                "to": list(taken.destinations),
                "sha256": taken.manifest.sha256,
            }
            facts |= _seconds(taken) | ({"failed": failed} if failed else {})
    return taken


async def _sealed_pki(session: Session) -> bytes:
    root, public = pki_directory(session.spec, session.folder), session.spec.backup.encrypt_to
    assert public is not None, "it was checked before"
    if not (root / "ca-key.pem").exists():
        raise PkiError(f"{root} has no CA key, so it is only a part of the PKI directory")
    return await seal_pki(root, public)


async def _signing_key(session: Session, destinations: Destinations, observed: Observed) -> BackupKey:
    """Return the key that signs the backup. An older copy of the PKI directory makes no key."""
    root, made = pki_directory(session.spec, session.folder), list[Path]()
    if read_backup_key(root) is None and (stale := refuse_stale_pki(session.spec, observed)):
        raise_refusal(Refusal(session.spec.name, stale))
    key = require_backup_key(session.spec, root, made.append)
    for path in made:
        session.terminal.say(
            f"etcdup made {path}, which signs backups from now on. It is part of the PKI directory: copy it to all "
            "machines that have the directory"
        )
        await _warn_of_another_key(session, destinations, Trust(key))
    return key


async def _warn_of_another_key(session: Session, destinations: Destinations, trust: Trust) -> None:
    """Warn if backups were signed before. The key of another copy of the PKI directory may be the one to use."""
    contents = await list_destinations(destinations, session.spec.name, trust)
    others = sum(each.fault == OTHER_KEY for each in contents.backups)
    if others:
        session.terminal.warn(
            f"another key signed {count_text(others, 'backup')} in {destinations.title}: if another copy of the PKI "
            f"directory has a {BACKUP_KEY}, use that one on all machines"
        )


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
    contents = session.run(_list(session, destinations))
    now, found = datetime.now(UTC), contents.backups
    if as_json:
        rows = [
            _listed_json(each) | {"why": each.fault or None, "places": _destinations_of(contents, each)}
            for each in found
        ]
        print_json(session, {**contents_json(contents), "backups": rows})
    else:
        several = len(destinations.stores) + len(destinations.failed) > 1
        for each in found:
            where = f"  in {' and '.join(_destinations_of(contents, each))}" if several else ""
            session.terminal.print_data(f"{_row(each, now)}{where}\n")
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


async def _list(session: Session, destinations: Destinations) -> Contents:
    async with session.terminal.wait_notice(f"reading {destinations.title}"):
        return await list_destinations(destinations, session.spec.name, trust_of(session))


def _row(each: BackupEntry, now: datetime) -> str:
    facts = [f"{age_text(each, now)} old"]
    if manifest := each.manifest:
        facts.append(f"{show_size(manifest.size)}, revision {manifest.revision}, etcd {manifest.version}")
        facts[-1] += ", encrypted" if manifest.encrypted_to else ""
        facts[-1] += ", with PKI" if manifest.pki_size else ""
    if each.fault:
        return "  ".join([each.name, *facts, f"NOT USED: {each.fault}"])
    return "  ".join([each.name, *facts, "proved" if each.proved else "not proved"])


def age_text(each: BackupEntry, now: datetime) -> str:
    return show_duration(max((now - each.taken_at).total_seconds(), 0))


async def find_last_backups(spec: Spec, folder: Path) -> dict[str, Any]:
    """Return for `status`: the newest backup, the newest proved one, and the destinations without the newest one.

    `why` says which destinations failed. A folder that does not exist is not created.
    """
    none: dict[str, Any] = {"last": None, "last_proved": None, "why": None, "lacking": []}
    existing = await existing_destinations(spec.backup, folder)
    if not existing.to:
        return none
    try:
        destinations = open_destinations(existing, folder)
        trust = Trust.of(spec, folder)
        contents = await list_destinations(destinations, spec.name, trust, within_s=_STATUS_TIMEOUT_S)
    except EtcdupError as error:
        return none | {"why": error.message}
    found = contents.usable
    proved = [each for each in found if each.proved]
    newest = {"last": found[-1] if found else None, "last_proved": proved[-1] if proved else None}
    return {
        **{key: each and _entry_json(each) for key, each in newest.items()},
        "why": "; ".join(_status_faults(contents)) or None,
        "lacking": _destinations_without_newest(spec, existing.to, contents),
    }


def _status_faults(contents: Contents) -> Iterator[str]:
    yield from (error.message for error in contents.failed.values())
    unused = contents.newer_with_fault(contents.usable[-1]) if contents.usable else contents.backups
    if unused:
        yield f"etcdup does not use {count_text(len(unused), 'newer backup')}: run `etcdup backup list`"


def _destinations_without_newest(spec: Spec, existing: Sequence[str], contents: Contents) -> list[str]:
    if not contents.usable:
        return []
    holders = contents.sources(contents.usable[-1].name)
    missing = [destination for destination in spec.backup.to if destination not in existing]
    return [*(store.destination for store in contents.found if store not in holders), *missing]


def _entry_json(each: BackupEntry) -> dict[str, Any]:
    return {"name": each.name, "taken_at": each.taken_at.isoformat(), "proved": each.proved}


def _listed_json(each: BackupEntry) -> dict[str, Any]:
    facts = _entry_json(each) | {"signed": each.signed}
    return _manifest_json(each.manifest) | facts if each.manifest else facts


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
