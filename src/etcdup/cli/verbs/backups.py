"""Verbs for backups."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_backup
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option, unsigned_option


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def backup() -> None:
    """Take, list, verify, prove and delete backups."""


@backup.command(context_settings=HELP_OPTIONS)
@click.option(
    "--with-pki", is_flag=True, help="Also back up the PKI directory. It needs `backup.encrypt_to`."
)
@json_option
@file_option
def now(file: Path, with_pki: bool, as_json: bool) -> int:
    """Take a backup, and read it back.

    It is taken from a follower and written to all destinations of `backup.to`.
    """
    from etcdup.cli.backups.backups import take_now

    return take_now(file, with_pki=with_pki, as_json=as_json)


@backup.command("list", context_settings=HELP_OPTIONS)
@json_option
@file_option
def list_(file: Path, as_json: bool) -> int:
    """List all complete backups, and which of them a drill has proved."""
    from etcdup.cli.backups.backups import list_backups

    return list_backups(file, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]", shell_complete=complete_backup)
@click.option("--all", "every", is_flag=True, help="Verify all backups.")
@identity_option
@unsigned_option
@json_option
@file_option
def verify(file: Path, name: str, every: bool, identity: Path | None, unsigned: bool, as_json: bool) -> int:
    """Compare a backup with its checksums.

    It reads the backup NAME, or the newest backup. The exit code is 1 if a copy is damaged. With --identity, an
    encrypted backup is also decrypted.

    \b
    Examples:
      etcdup backup verify
      etcdup backup verify --all --identity key.txt
    """
    from etcdup.cli.backups.verify import verify_backups

    return verify_backups(file, name, every=every, identity=identity, unsigned=unsigned, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.option("-y", "--yes", is_flag=True, help="Delete without a confirmation.")
@unsigned_option
@json_option
@file_option
def prune(file: Path, yes: bool, unsigned: bool, as_json: bool) -> int:
    """Delete the backups that `backup.keep` does not keep.

    The newest backup and the newest proved backup are never deleted. Backups without a valid signature do not count,
    and stay. With --unsigned, they are deleted too. They never take the place of a signed one.
    """
    from etcdup.cli.backups.prune import prune_backups

    return prune_backups(file, yes=yes, unsigned=unsigned, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]", shell_complete=complete_backup)
@identity_option
@unsigned_option
@json_option
@file_option
def drill(file: Path, name: str, identity: Path | None, unsigned: bool, as_json: bool) -> int:
    """Restore a backup on this machine, and compare its data.

    It restores the backup NAME, or the newest backup, into a temporary etcd. A backup that passes is proved. The
    cluster is not changed.
    """
    from etcdup.cli.backups.verify import drill_backup

    return drill_backup(file, name, identity=identity, unsigned=unsigned, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]", shell_complete=complete_backup)
@identity_option
@file_option
def pki(file: Path, name: str, identity: Path | None) -> int:
    """Get the PKI directory back from a backup.

    It is for a new machine, if the machine with the PKI directory is lost. It reads the backup NAME, or the newest
    backup that `backup now --with-pki` took, and creates `tls.dir`. An existing directory is never changed.

    \b
    Example:
      etcdup backup pki --identity key.txt
    """
    from etcdup.cli.backups.pki import fetch_pki_directory

    return fetch_pki_directory(file, name, identity=identity)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument(
    "backup", type=click.Path(path_type=Path), default="latest", metavar="[BACKUP]",
    shell_complete=complete_backup,
)  # fmt: skip
@click.option("--prefix", default="", metavar="P", help="Only keys that begin with P.")
@click.option("--from", "oldest", metavar="MOMENT", help="The first revision, or a time.")
@click.option("--to", "newest", metavar="MOMENT", help="The last revision, or a time.")
@identity_option
@unsigned_option
@json_option
@file_option
def log(
    backup: Path,
    prefix: str,
    oldest: str | None,
    newest: str | None,
    identity: Path | None,
    unsigned: bool,
    file: Path,
    as_json: bool,
) -> int:
    """List which keys changed, at which revision, and between which times.

    It reads BACKUP, which is a backup or a snapshot file, or the newest backup. A backup has all changes since the last
    compaction before it. etcd stores no times: they come from earlier backups and from the leases of Kubernetes. No
    value is printed.

    \b
    Examples:
      etcdup backup log --prefix /registry/secrets/
      etcdup backup log prod-20261125T120000Z --from 81000 --to 82000
    """
    from etcdup.cli.backups.log import show_change_log

    return show_change_log(
        file,
        backup,
        prefix,
        oldest=oldest,
        newest=newest,
        identity=identity,
        unsigned=unsigned,
        as_json=as_json,
    )


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("backup", type=click.Path(path_type=Path), shell_complete=complete_backup)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", required=True, help="The new file.")
@click.option(
    "--revision", type=click.IntRange(1), metavar="N", help="Leave out all changes after revision N."
)
@click.option(
    "--without-alarms", is_flag=True, help="Leave out the alarms NOSPACE and CORRUPT of the cluster."
)
@identity_option
@unsigned_option
@file_option
def compact(
    backup: Path,
    out: Path,
    revision: int | None,
    without_alarms: bool,
    identity: Path | None,
    unsigned: bool,
    file: Path,
) -> int:
    """Write BACKUP, a backup or a snapshot file, to a new file without free pages.

    The new file is not encrypted. It has the same keys and history. With --revision, it is the data as of that
    revision.

    \b
    Example:
      etcdup backup compact ./snapshot.db --out smaller.db
    """
    from etcdup.cli.backups.compact import compact_backup

    return compact_backup(
        file,
        backup,
        out,
        revision,
        without_alarms=without_alarms,
        identity=identity,
        unsigned=unsigned,
    )


VERBS: tuple[click.Command, ...] = (backup,)
