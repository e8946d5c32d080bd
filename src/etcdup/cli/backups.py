"""`etcdup backup now`, `list`, `verify`, `prune` and `drill`."""

import asyncio
import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from etcdup.cli.failure import Interrupted
from etcdup.cli.session import Session
from etcdup.cli.words import counted
from etcdup.core.backups import Listed, Manifest, Proof, source, to_prune
from etcdup.core.spec import Spec
from etcdup.core.units import show_duration, show_size
from etcdup.core.version import parse_version
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, UsageError
from etcdup.ops import backups
from etcdup.ops.drill import drill
from etcdup.ops.etcdctl import find_tools
from etcdup.ops.journal import Journal
from etcdup.ops.sealing import Identity
from etcdup.ops.store import Store, StoreError, is_missing, open_store

# A status must not wait for a store that is gone.
_STATUS_S = 5.0


def _store(session: Session) -> Store:
    return open_store(session.spec.backup, session.folder)


def take_now(file: Path, *, as_json: bool) -> int:
    session = Session.begin(file)
    store = _store(session)
    manifest = session.run(_take(session, store), lambda: "interrupted; what was written is not listed")
    if as_json:
        _print(session, _manifest_json(manifest))
    else:
        session.terminal.data(
            f"backup {manifest.name} is in {store.place}: {show_size(manifest.size)}, "
            f"revision {manifest.revision}, {counted(manifest.keys, 'key')}, from {manifest.member}; "
            f"{_read_back(manifest)}\n"
        )
        with_key = " --identity FILE" if manifest.encrypted_to else ""
        session.terminal.say(
            f"it is not proved yet: `etcdup backup drill{with_key}` restores it on this machine"
        )
    return EXIT_DONE


def _read_back(manifest: Manifest) -> str:
    return "encrypted, and read back as it was written" if manifest.encrypted_to else "read back and whole"


async def _take(session: Session, store: Store) -> Manifest:
    async with session.world() as world:
        observed = await session.observed(world)
        member = source(observed)
        if member is None:
            raise EtcdupError(
                "no member is healthy enough to take a backup from", hint="`etcdup status` shows why"
            )
        listed = observed.answering()[member].members
        members = {each.name: ", ".join(each.peer_urls) for each in listed}
        client = await world.straight(member)
        async with session.terminal.patience(f"backup from {member} into {store.place}"):
            manifest = await backups.take_backup(
                store, client, session.spec.name, members,
                report=session.terminal.report, encrypt_to=session.spec.backup.encrypt_to,
            )  # fmt: skip
    with Journal.beside(session.folder, session.spec.name) as journal:
        journal.record("backup", {"name": manifest.name, "to": store.place, "sha256": manifest.sha256})
    return manifest


def list_backups(file: Path, *, as_json: bool) -> int:
    session = Session.begin(file)
    store = _store(session)
    found, manifests = session.run(_manifests(session, store))
    now = datetime.now(UTC)
    if as_json:
        rows = [_listed_json(each, manifests.get(each.name)) for each in found]
        _print(session, {"place": store.place, "backups": rows})
        return EXIT_DONE
    for each in found:
        session.terminal.data(_row(each, manifests.get(each.name), now) + "\n")
    if not found:
        session.terminal.say(
            f"{store.place} holds no backup of {session.spec.name}; `etcdup backup now` takes one"
        )
    return EXIT_DONE


async def _manifests(session: Session, store: Store) -> tuple[tuple[Listed, ...], dict[str, Manifest]]:
    async with session.terminal.patience(f"looking into {store.place}"):
        found = await backups.backups_in(store, session.spec.name)
        manifests = {}
        for each in found:
            with suppress(backups.Damaged):
                manifests[each.name] = await backups.manifest_of(store, each.name)
    return found, manifests


def _row(each: Listed, manifest: Manifest | None, now: datetime) -> str:
    facts = "its manifest is damaged"
    if manifest:
        facts = f"{show_size(manifest.size)}, revision {manifest.revision}, etcd {manifest.version}"
        facts += ", encrypted" if manifest.encrypted_to else ""
    proved = "proved" if each.proved else "not proved"
    return f"{each.name}  {_age(each, now)} old  {facts}  {proved}"


def _age(each: Listed, now: datetime) -> str:
    return show_duration(max((now - each.taken_at).total_seconds(), 0))


def verify_backups(file: Path, name: str, *, every: bool, identity: Path | None, as_json: bool) -> int:
    session = Session.begin(file)
    key = Identity.read(identity) if identity else None
    results = session.run(_verify(session, _store(session), None if every else name, key))
    if as_json:
        rows = [
            {"name": each, "whole": not seen.why, "why": seen.why or None, "decrypted": seen.decrypted}
            for each, seen in results.items()
        ]
        _print(session, {"backups": rows})
    else:
        for each, seen in results.items():
            session.terminal.data(f"{each}: {seen.why or 'whole'}\n")
    return EXIT_FAILED if any(seen.why for seen in results.values()) else EXIT_DONE


class _Verified(NamedTuple):
    """Why it is not whole; empty where it is. `decrypted` is None where there was nothing to decrypt."""

    why: str
    decrypted: bool | None = None


async def _verify(
    session: Session, store: Store, name: str | None, identity: Identity | None
) -> dict[str, _Verified]:
    cluster, results = session.spec.name, {}
    found = await backups.backups_in(store, cluster)
    names = [each.name for each in found] if name is None else []
    if not names:
        names = [(await backups.chosen(store, cluster, name or "latest")).name]
    for each in names:
        async with session.terminal.patience(f"reading {each}"):
            try:
                manifest = await backups.verify(
                    store, each, report=session.terminal.report, identity=identity
                )
                results[each] = _Verified("", identity is not None if manifest.encrypted_to else None)
                if results[each].decrypted is False:
                    session.terminal.say(
                        f"{each} is encrypted and as it was written; `--identity FILE` looks inside"
                    )
            except backups.Damaged as error:
                results[each] = _Verified(error.message)
    return results


def prune_backups(file: Path, *, yes: bool, as_json: bool) -> int:
    session = Session.begin(file)
    gone = session.run(_prune(session, _store(session), yes=yes), lambda: "interrupted; run it again")
    if as_json:
        _print(session, {"deleted": [each.name for each in gone]})
    return EXIT_DONE


async def _prune(session: Session, store: Store, *, yes: bool) -> tuple[Listed, ...]:
    found = await backups.backups_in(store, session.spec.name)
    going = to_prune(found, session.spec.backup.keep)
    terminal, now = session.terminal, datetime.now(UTC)
    for each in going:
        terminal.say(f"  - {each.name}  {_age(each, now)} old")
    terminal.say(f"{len(found) - len(going)} of {counted(len(found), 'backup')} in {store.place} stay")
    if not going:
        return ()
    if not yes:
        if not terminal.can_ask:
            raise UsageError(
                "there is nobody to ask whether they shall be deleted", hint="`--yes` does it without asking"
            )
        if not await terminal.confirm(f"Delete {counted(len(going), 'backup')} for good?"):
            raise Interrupted("nothing was deleted")
    for each in going:
        await backups.delete(store, each.name)
    terminal.say(f"{counted(len(going), 'backup')} deleted")
    return going


def drill_backup(file: Path, name: str, *, identity: Path | None, as_json: bool) -> int:
    session = Session.begin(file)
    store, key = _store(session), Identity.read(identity) if identity else None
    proof = session.run(_drill(session, store, name, key), lambda: "interrupted; nothing was proved")
    if as_json:
        _print(session, asdict(proof) | {"at": proof.at.isoformat()})
        return EXIT_DONE
    session.terminal.data(
        f"backup {proof.name} is proved: etcd {proof.version} serves it, with the revision {proof.revision}, "
        f"{counted(proof.keys, 'key')}, the hash and the canary of the day it was taken\n"
        f"RTO {proof.rto_s:.1f} s from fetching to serving on this machine; "
        f"RPO {show_duration(proof.rpo_s)}: the age of its data when the drill began\n"
    )
    return EXIT_DONE


async def _drill(session: Session, store: Store, name: str, identity: Identity | None) -> Proof:
    chosen = await backups.chosen(store, session.spec.name, name)
    version = parse_version((await backups.manifest_of(store, chosen.name)).version)
    async with session.world() as world:
        tools = await find_tools(world, session.folder, version, session.terminal.report)
    async with session.terminal.patience(f"restoring {chosen.name} on this machine"):
        proof = await drill(
            store, session.spec.name, chosen.name, tools, report=session.terminal.report, identity=identity
        )
    with Journal.beside(session.folder, session.spec.name) as journal:
        journal.record("drill", {"name": proof.name, "rto_s": proof.rto_s, "rpo_s": proof.rpo_s})
    return proof


async def last_backups(spec: Spec, folder: Path) -> dict[str, Any]:
    """For `status`: the newest backup and the newest proved one, or why that cannot be told."""
    none = {"last": None, "last_proved": None, "why": None}
    if await asyncio.to_thread(is_missing, spec.backup, folder):
        return none
    try:
        async with asyncio.timeout(_STATUS_S):
            found = await backups.backups_in(open_store(spec.backup, folder), spec.name)
    except TimeoutError:
        return none | {"why": f"{spec.backup.to} gives no answer"}
    except StoreError as error:
        return none | {"why": error.message}
    proved = [each for each in found if each.proved]
    last = {"last": found[-1] if found else None, "last_proved": proved[-1] if proved else None}
    return none | {key: each and _listed_json(each, None) for key, each in last.items()}


def _listed_json(each: Listed, manifest: Manifest | None) -> dict[str, Any]:
    facts = {"name": each.name, "taken_at": each.taken_at.isoformat(), "proved": each.proved}
    return _manifest_json(manifest) | facts if manifest else facts


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    return asdict(manifest) | {"taken_at": manifest.taken_at.isoformat()}


def _print(session: Session, facts: dict[str, Any]) -> None:
    session.terminal.data(json.dumps({"format": 1, **facts}, indent=1, ensure_ascii=False) + "\n")
