"""Verbs about backups."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option


@click.group(context_settings=HELP_OPTIONS)
def backup() -> None:
    """Take backups, look after them, and prove that they can be restored."""


@backup.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def now(file: Path, as_json: bool) -> int:
    """Take one from a follower into every place of `backup.to`, and read it back from each."""
    from etcdup.cli.backups.backups import take_now

    return take_now(file, as_json=as_json)


@backup.command("list", context_settings=HELP_OPTIONS)
@json_option
@file_option
def list_(file: Path, as_json: bool) -> int:
    """Show every whole backup, and which a drill has proved."""
    from etcdup.cli.backups.backups import list_backups

    return list_backups(file, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]")
@click.option("--all", "every", is_flag=True, help="Every backup there is.")
@identity_option
@json_option
@file_option
def verify(file: Path, name: str, every: bool, identity: Path | None, as_json: bool) -> int:
    """Read a backup (the latest, or NAME) and compare it with its checksums. Ends with 1 if it is damaged.

    An encrypted one is decrypted for that where its private key is given.
    """
    from etcdup.cli.backups.verify import verify_backups

    return verify_backups(file, name, every=every, identity=identity, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@json_option
@file_option
def prune(file: Path, yes: bool, as_json: bool) -> int:
    """Delete those that `backup.keep` does not ask for. Never the newest, nor the newest proved one."""
    from etcdup.cli.backups.backups import prune_backups

    return prune_backups(file, yes=yes, as_json=as_json)


@backup.command(context_settings=HELP_OPTIONS)
@click.argument("name", default="latest", metavar="[NAME]")
@identity_option
@json_option
@file_option
def drill(file: Path, name: str, identity: Path | None, as_json: bool) -> int:
    """Restore a backup (the latest, or NAME) into a throw-away member on this machine, and compare its data."""
    from etcdup.cli.backups.verify import drill_backup

    return drill_backup(file, name, identity=identity, as_json=as_json)


VERBS: tuple[click.Command, ...] = (backup,)
