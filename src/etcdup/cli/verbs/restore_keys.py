"""The verb that writes old values of keys."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_backup
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option, unsigned_option


@click.command("restore-keys", context_settings=HELP_OPTIONS)
@click.option("--prefix", required=True, metavar="P", help="The keys that begin with P.")
@click.option("--to-prefix", metavar="Q", help="Write them as keys that begin with Q.")
@click.option("--revision", type=click.IntRange(1), metavar="N", help="Their values at revision N.")
@click.option("--at", metavar="TIME", help="Their values at the last known moment until TIME.")
@click.option(
    "--backup", type=click.Path(path_type=Path), metavar="BACKUP", shell_complete=complete_backup,
    help="A backup or a snapshot file.  [default: the newest backup]",
)  # fmt: skip
@click.option(
    "--with-leased-keys", is_flag=True, help="Also write keys that were on a lease. They never expire."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@click.option("--from-cluster", metavar="NAME", help="The cluster of the backup, if it is another one.")
@identity_option
@unsigned_option
@json_option
@file_option
def restore_keys(
    prefix: str,
    to_prefix: str | None,
    revision: int | None,
    at: str | None,
    backup: Path | None,
    with_leased_keys: bool,
    dry_run: bool,
    yes: bool,
    from_cluster: str | None,
    identity: Path | None,
    unsigned: bool,
    file: Path,
    as_json: bool,
) -> int:
    """Write values that keys had at an earlier revision into the running cluster.

    It reads them from a backup, which has all changes since the last compaction before it. First it shows what would be
    overwritten. A key that another client changes after that is not written, and is reported. Keys that did not exist
    at the revision are not deleted. No member is stopped. No value is printed.

    \b
    Examples:
      etcdup restore-keys --prefix /registry/secrets/prod/ --revision 81234 --dry-run
      etcdup restore-keys --prefix /app/ --at 2026-11-25T11:30:00Z --to-prefix /app-before/
    """
    from etcdup.cli.restore.restore_keys import restore_old_keys

    if revision is not None and at is not None:
        raise click.UsageError("pass --revision or --at, and not both")
    if revision is None and at is None and backup is None:
        raise click.UsageError("pass --revision, --at or --backup, so that it is clear which values to write")
    return restore_old_keys(
        file,
        prefix,
        to_prefix,
        backup or Path("latest"),
        revision=revision,
        at=at,
        with_leased=with_leased_keys,
        dry_run=dry_run,
        yes=yes,
        origin=from_cluster,
        identity=identity,
        unsigned=unsigned,
        as_json=as_json,
    )


VERBS: tuple[click.Command, ...] = (restore_keys,)
