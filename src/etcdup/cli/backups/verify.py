"""`etcdup backup verify` and `drill`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from etcdup.cli.backups.backups import contents_json, destinations_of, print_json, trust_of, warn_of_failed
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.backups.backups import Proof
from etcdup.core.spec.units import show_duration
from etcdup.core.spec.version import parse_version
from etcdup.errors import EXIT_DONE, EXIT_FAILED, EtcdupError, UsageError
from etcdup.ops.backups import backups
from etcdup.ops.backups.destinations import (
    LATEST,
    Contents,
    Destinations,
    list_destinations,
    warn_of_newer,
)
from etcdup.ops.backups.drill import drill
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.store import Store
from etcdup.ops.backups.trust import Trust
from etcdup.ops.etcdctl import find_tools
from etcdup.ops.world.journal import Journal


@dataclass(frozen=True)
class _VerifiedCopy:
    """A copy of a backup. `why` says what is wrong, and is empty for a complete copy. `hint` is for the operator.

    `decrypted` is None if the backup is not encrypted.
    """

    name: str
    place: str
    why: str = ""
    decrypted: bool | None = None
    hint: str = ""

    def facts(self) -> dict[str, Any]:
        facts = {**asdict(self), "why": self.why or None, "whole": not self.why}
        del facts["hint"]
        return facts


def verify_backups(
    file: Path, name: str, *, every: bool, identity: Path | None, unsigned: bool, as_json: bool
) -> int:
    session = Session.begin(file)
    key = Identity.read(identity) if identity else None
    trust = trust_of(session, unsigned=unsigned)
    contents, copies = session.run(
        _verify(session, destinations_of(session), trust, None if every else name, key)
    )
    if as_json:
        rows = [each.facts() for each in copies]
        print_json(session, {**contents_json(contents), "backups": rows})
    else:
        several = len(contents.found) + len(contents.failed) > 1
        for each in copies:
            where = f" in {each.place}" if several else ""
            session.terminal.print_data(f"{each.name}{where}: {each.why or 'complete'}\n")
    for hint in dict.fromkeys(each.hint for each in copies if each.hint):
        session.terminal.say(f"hint: {hint}")
    failed = warn_of_failed(session, contents)
    return EXIT_FAILED if any(each.why for each in copies) else failed


async def _verify(
    session: Session, destinations: Destinations, trust: Trust, name: str | None, identity: Identity | None
) -> tuple[Contents, list[_VerifiedCopy]]:
    """Verify all copies. For a single backup, also report each destination that has no copy of it."""
    contents = await list_destinations(destinations, session.spec.name, trust)
    copies = []
    for each in _names_to_verify(contents, session.spec.name, name):
        for store in contents.found:
            if store in contents.holders(each):
                copies.append(await _verify_copy(session, store, each, trust, identity))
            elif name is not None:
                copies.append(_VerifiedCopy(each, store.destination, "there is no copy"))
    return contents, copies


def _names_to_verify(contents: Contents, cluster: str, name: str | None) -> list[str]:
    """Return all names, or the chosen one. For `latest`, add newer backups that etcdup does not use.

    So damage of the newest backup is reported, although the newest usable one is complete.
    """
    if name is None and contents.backups:
        return [each.name for each in contents.backups]
    chosen = contents.chosen(cluster, name or LATEST)
    newer = contents.newer_with_fault(chosen) if name == LATEST else ()
    return [chosen.name, *(each.name for each in newer)]


async def _verify_copy(
    session: Session, store: Store, name: str, trust: Trust, identity: Identity | None
) -> _VerifiedCopy:
    terminal = session.terminal
    async with terminal.wait_notice(f"reading {name} in {store.destination}"):
        try:
            manifest = await backups.verify(store, name, trust, report=terminal.report, identity=identity)
        except UsageError:
            raise
        except EtcdupError as error:
            return _VerifiedCopy(name, store.destination, error.message, hint=error.hint)
    if manifest.encrypted_to and identity is None:
        terminal.say(f"{name} is encrypted and unchanged; pass `--identity FILE` to also verify its content")
    return _VerifiedCopy(name, store.destination, "", identity is not None if manifest.encrypted_to else None)


def drill_backup(file: Path, name: str, *, identity: Path | None, unsigned: bool, as_json: bool) -> int:
    session = Session.begin(file)
    destinations, key = destinations_of(session), Identity.read(identity) if identity else None
    trust = trust_of(session, unsigned=unsigned)
    proof = session.run(
        _drill(session, destinations, trust, name, key), lambda: "interrupted; nothing was proved"
    )
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


async def _drill(
    session: Session, destinations: Destinations, trust: Trust, name: str, identity: Identity | None
) -> Proof:
    terminal, contents = session.terminal, await list_destinations(destinations, session.spec.name, trust)
    warn_of_failed(session, contents)
    chosen = contents.chosen(session.spec.name, name)
    if name == LATEST:
        warn_of_newer(contents, chosen, terminal.warn)
    name, stores = chosen.name, contents.sources(chosen.name)
    version = parse_version((chosen.manifest or await backups.load_manifest(stores[0], name, trust)).version)
    async with session.world() as world:
        tools = await find_tools(world, session.folder, version, terminal.report)
    async with terminal.wait_notice(f"restoring {name} on this machine"):
        proof = await drill(
            stores, session.spec.name, name, tools, trust,
            report=terminal.report, warn=terminal.warn, identity=identity,
        )  # fmt: skip
    with Journal.in_folder(session.folder, session.spec.name) as journal:
        journal.record("drill", {"name": proof.name, "rto_s": proof.rto_s, "rpo_s": proof.rpo_s})
    return proof
