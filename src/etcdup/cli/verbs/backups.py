"""Verbs for backups."""

from pathlib import Path

import click

from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def backup() -> None:
    """Take, list, verify, prove and delete backups."""


@backup.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def now(file: Path, as_json: bool) -> int:
    """Take a backup, and read it back.

    It is taken from a follower and written to all destinations of `backup.to`.
    """
    from etcdup.cli.backups.backups import take_now

    return take_now(file, as_json=as_json)


@backup.command("list", context_settings=HELP_OPTIONS)
@json_option
@file_option
def list_(file: Path, as_json: bool) -> int:
    """List all complete backups, and which of them a drill has proved."""
    from etcdup.cli.backups.backups import list_backups

    return list_backups(file, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]")
@click.option("--all", "every", is_flag=True, help="Verify all backups.")
@identity_option
@json_option
@file_option
def verify(file: Path, name: str, every: bool, identity: Path | None, as_json: bool) -> int:
    """Compare a backup with its checksums.

    It reads the backup NAME, or the newest backup. The exit code is 1 if a copy is damaged. With --identity, an
    encrypted backup is also decrypted.

    \b
    Examples:
      etcdup backup verify
      etcdup backup verify --all --identity key.txt
    """
    from etcdup.cli.backups.verify import verify_backups

    return verify_backups(file, name, every=every, identity=identity, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.option("-y", "--yes", is_flag=True, help="Delete without a confirmation.")
@json_option
@file_option
def prune(file: Path, yes: bool, as_json: bool) -> int:
    """Delete the backups that `backup.keep` does not keep.

    The newest backup and the newest proved backup are never deleted.
    """
    from etcdup.cli.backups.backups import prune_backups

    return prune_backups(file, yes=yes, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]")
@identity_option
@json_option
@file_option
def drill(file: Path, name: str, identity: Path | None, as_json: bool) -> int:
    """Restore a backup on this machine, and compare its data.

    It restores the backup NAME, or the newest backup, into a temporary etcd. A backup that passes is proved. The
    cluster is not changed.
    """
    from etcdup.cli.backups.verify import drill_backup

    return drill_backup(file, name, identity=identity, as_json=as_json)


VERBS: tuple[click.Command, ...] = (backup,)
