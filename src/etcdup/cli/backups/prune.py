"""`etcdup backup prune`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.backups.backups import age_text, destinations_of, print_json, trust_of
from etcdup.cli.run.failure import Interrupted
from etcdup.cli.run.session import Session
from etcdup.cli.views.step_texts import count_text
from etcdup.core.backups.backups import BackupEntry, backups_to_prune_at
from etcdup.errors import EXIT_DONE, EtcdupError, UsageError
from etcdup.ops.backups import backups
from etcdup.ops.backups.destinations import Contents, Destinations, list_destinations
from etcdup.ops.backups.store import Store
from etcdup.ops.backups.trust import Trust

Copy = tuple[Store, BackupEntry]


def prune_backups(file: Path, *, yes: bool, unsigned: bool, as_json: bool) -> int:
    session = Session.begin(file)
    trust = trust_of(session, unsigned=unsigned)
    contents, gone = session.run(
        _prune(session, destinations_of(session), trust, yes=yes),
        lambda: "interrupted; run `etcdup backup prune` again",
    )
    if as_json:
        names = sorted({each.name for _, each in gone})
        unused = [_copy_json(*copy) | {"why": copy[1].fault} for copy in _unused(contents)]
        print_json(
            session, {"deleted": names, "copies": [_copy_json(*copy) for copy in gone], "unused": unused}
        )
    return EXIT_DONE


def _copy_json(store: Store, each: BackupEntry) -> dict[str, str]:
    return {"name": each.name, "place": store.destination}


async def _prune(
    session: Session, destinations: Destinations, trust: Trust, *, yes: bool
) -> tuple[Contents, list[Copy]]:
    contents = await list_destinations(destinations, session.spec.name, trust)
    for error in contents.failed.values():  # The newest proved backup is then not known.
        raise EtcdupError(f"nothing was deleted: {error.message}", hint=error.hint)
    terminal, now, several = session.terminal, datetime.now(UTC), len(contents.found) > 1
    obsolete = _backups_to_delete(session, contents)
    for store, each in obsolete:
        terminal.say(
            f"  - {each.name}  {age_text(each, now)} old" + (f"  in {store.destination}" if several else "")
        )
    count = sum(not each.fault for there in contents.found.values() for each in there)
    _report_unused(session, contents)
    terminal.say(f"{count - len(obsolete)} of {count_text(count, 'backup')} in {destinations.title} are kept")
    if not obsolete:
        return contents, []
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
    return contents, obsolete


def _report_unused(session: Session, contents: Contents) -> None:
    """Warn of the copies that are not counted and not deleted."""
    unused = _unused(contents)
    for store, each in unused:
        session.terminal.warn(f"{each.name} in {store.destination} stays, and does not count: {each.fault}")
    if unused:
        session.terminal.say("pass `--unsigned` to also delete backups without a valid signature")


def _unused(contents: Contents) -> list[Copy]:
    return [(store, each) for store, there in contents.found.items() for each in there if each.fault]


def _backups_to_delete(session: Session, contents: Contents) -> list[Copy]:
    """Return the copies that `backup.keep` does not keep, of those that etcdup can verify."""
    keep, usable = session.spec.backup.keep, contents.usable
    return [
        (store, each)
        for store, there in contents.found.items()
        for each in backups_to_prune_at([copy for copy in there if not copy.fault], usable, keep)
    ]
