"""`etcdup backup pki`."""

from pathlib import Path

from etcdup.cli.backups.backups import destinations_of, fingerprint_text, warn_of_failed
from etcdup.cli.run.session import Session
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.backups.backups import IDENTITY_HINT
from etcdup.ops.backups.destinations import LATEST, list_destinations
from etcdup.ops.backups.encryption import Identity
from etcdup.ops.backups.pki_backup import StoredPki, fetch_pki, newest_with_pki
from etcdup.ops.backups.trust import Trust
from etcdup.ops.pki.archive import refuse_existing, unpack_pki
from etcdup.ops.pki.backup_key import pki_directory


def fetch_pki_directory(file: Path, name: str, *, identity: Path | None) -> int:
    session = Session.begin(file)
    root = pki_directory(session.spec, session.folder)
    refuse_existing(root)
    if identity is None:
        raise UsageError("the PKI directory in a backup is encrypted", hint=IDENTITY_HINT)
    stored = session.run(_fetch(session, name, Identity.read(identity)))
    unpack_pki(stored.files, root)
    session.terminal.print_data(f"{root} has the PKI directory; {fingerprint_text(stored.key)}\n")
    session.terminal.say(
        "compare it with the fingerprint that `backup now --with-pki` printed, before you restore a backup: a client "
        "that can write to the store can make another PKI directory"
    )
    return EXIT_DONE


async def _fetch(session: Session, name: str, identity: Identity) -> StoredPki:
    """Read the archive. There is no key yet that could verify a signature."""
    destinations = destinations_of(session)
    async with session.terminal.wait_notice(f"reading {destinations.title}"):
        contents = await list_destinations(destinations, session.spec.name, Trust(None, unsigned=True))
        warn_of_failed(session, contents)
        chosen = newest_with_pki(contents.usable, None if name == LATEST else name)
        return await fetch_pki(contents.sources(chosen.name), chosen.name, identity)
