"""`etcdup backup verify` and `drill`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etcdup.cli.backups.backups import contents_json, destinations_of, print_json, warn_of_failed
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.backups.backups import Proof
from etcdup.core.spec.units import show_duration
from etcdup.core.spec.version import parse_version
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, UsageError
from etcdup.ops.backups import backups
from etcdup.ops.backups.destinations import Contents, Destinations, list_destinations
from etcdup.ops.backups.drill import drill
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.store import Store
from etcdup.ops.etcdctl import find_tools
from etcdup.ops.world.journal import Journal


@dataclass(frozen=True)
class _VerifiedCopy:
    """A copy of a backup. `why` says what is wrong, and is empty for a complete copy.

    `decrypted` is None if the backup is not encrypted.
    """

    name: str
    place: str
    why: str = ""
    decrypted: bool | None = None

    def facts(self) -> dict[str, Any]:
        return {**asdict(self), "why": self.why or None, "whole": not self.why}


def verify_backups(file: Path, name: str, *, every: bool, identity: Path | None, as_json: bool) -> int:
    session = Session.begin(file)
    key = Identity.read(identity) if identity else None
    contents, copies = session.run(_verify(session, destinations_of(session), None if every else name, key))
    if as_json:
        rows = [each.facts() for each in copies]
        print_json(session, {**contents_json(contents), "backups": rows})
    else:
        several = len(contents.found) + len(contents.failed) > 1
        for each in copies:
            where = f" in {each.place}" if several else ""
            session.terminal.print_data(f"{each.name}{where}: {each.why or 'complete'}\n")
    failed = warn_of_failed(session, contents)
    return EXIT_FAILED if any(each.why for each in copies) else failed


async def _verify(
    session: Session, destinations: Destinations, name: str | None, identity: Identity | None
) -> tuple[Contents, list[_VerifiedCopy]]:
    """Verify all copies. For a single backup, also report each destination that has no copy of it."""
    cluster = session.spec.name
    contents = await list_destinations(destinations, cluster)
    names = [each.name for each in contents.backups] if name is None else []
    names = names or [contents.chosen(cluster, name or "latest").name]
    copies = []
    for each in names:
        for store in contents.found:
            if store in contents.holders(each):
                copies.append(await _verify_copy(session, store, each, identity))
            elif name is not None:
                copies.append(_VerifiedCopy(each, store.destination, "there is no copy"))
    return contents, copies


async def _verify_copy(session: Session, store: Store, name: str, identity: Identity | None) -> _VerifiedCopy:
    terminal = session.terminal
    async with terminal.wait_notice(f"reading {name} in {store.destination}"):
        try:
            manifest = await backups.verify(store, name, report=terminal.report, identity=identity)
        except UsageError:
            raise
        except EtcdupError as error:
            return _VerifiedCopy(name, store.destination, error.message)
    if manifest.encrypted_to and identity is None:
        terminal.say(f"{name} is encrypted and unchanged; pass `--identity FILE` to also verify its content")
    return _VerifiedCopy(name, store.destination, "", identity is not None if manifest.encrypted_to else None)


def drill_backup(file: Path, name: str, *, identity: Path | None, as_json: bool) -> int:
    session = Session.begin(file)
    destinations, key = destinations_of(session), Identity.read(identity) if identity else None
    proof = session.run(_drill(session, destinations, name, key), lambda: "interrupted; nothing was proved")
    if as_json:
        print_json(session, asdict(proof) | {"at": proof.at.isoformat()})
        return EXIT_DONE
    session.terminal.print_data(
        f"backup {proof.name} is proved: etcd {proof.version} serves it with revision {proof.revision}, "
        f"{count_text(proof.keys, 'key')}, and the same hash and canary as when it was taken\n"
        f"RTO {proof.rto_s:.1f} s: from the start of the download until etcd serves it on this machine; "
        f"RPO {show_duration(proof.rpo_s)}: the age of the data when the drill began\n"
    )
    return EXIT_DONE


async def _drill(session: Session, destinations: Destinations, name: str, identity: Identity | None) -> Proof:
    terminal, contents = session.terminal, await list_destinations(destinations, session.spec.name)
    warn_of_failed(session, contents)
    name = contents.chosen(session.spec.name, name).name
    stores = contents.holders(name)
    version = parse_version(await _read_etcd_version(stores, name))
    async with session.world() as world:
        tools = await find_tools(world, session.folder, version, terminal.report)
    async with terminal.wait_notice(f"restoring {name} on this machine"):
        proof = await drill(
            stores, session.spec.name, name, tools,
            report=terminal.report, warn=terminal.warn, identity=identity,
        )  # fmt: skip
    with Journal.in_folder(session.folder, session.spec.name) as journal:
        journal.record("drill", {"name": proof.name, "rto_s": proof.rto_s, "rpo_s": proof.rpo_s})
    return proof


async def _read_etcd_version(stores: tuple[Store, ...], name: str) -> str:
    """Return the version of etcd in the first manifest that can be read."""
    for store in stores[:-1]:
        try:
            return (await backups.load_manifest(store, name)).version
        except EtcdupError:
            continue
    return (await backups.load_manifest(stores[-1], name)).version
