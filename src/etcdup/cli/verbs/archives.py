"""Verbs for archived data."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_host
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, json_option


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def archive() -> None:
    """List and delete the old data that etcdup renamed on the hosts."""


@archive.command("list", context_settings=HELP_OPTIONS)
@json_option
@file_option
def list_(file: Path, as_json: bool) -> int:
    """List old data, cold copies and old settings on all hosts, with their size."""
    from etcdup.cli.apply.archive import list_archives

    return list_archives(file, as_json=as_json)


@archive.command(context_settings=HELP_OPTIONS)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_host)
@click.option("--older-than", metavar="DURATION", help="Only archives of this age or older, for example 30d.")
@click.option("--with-undo", is_flag=True, help="Also delete the data that `restore --undo` needs.")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def delete(
    name: str | None, older_than: str | None, with_undo: bool, yes: bool, file: Path, as_json: bool
) -> int:
    """Delete archives on all hosts, or on the host NAME. This cannot be undone.

    No other verb deletes old data. etcd does not use it.

    \b
    Examples:
      etcdup archive delete
      etcdup archive delete infra2 --older-than 30d
    """
    from etcdup.cli.apply.archive import delete_archives

    return delete_archives(file, name, older_than=older_than, with_undo=with_undo, yes=yes, as_json=as_json)


VERBS: tuple[click.Command, ...] = (archive,)
