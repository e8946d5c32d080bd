"""Verbs that replace the data of a cluster."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_backup, complete_host
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option, unsigned_option


@click.command(context_settings=HELP_OPTIONS)
@click.argument("snapshot", type=click.Path(path_type=Path), required=False, shell_complete=complete_backup)
@click.option(
    "--undo", is_flag=True, help="Put the data back that the last restore archived. Takes no SNAPSHOT."
)
@click.option("--yes-restore", metavar="NAME", help="The name of the cluster, to skip the confirmation.")
@click.option(
    "--again", is_flag=True, help="Restore even if this snapshot was the last one that was restored."
)
@click.option(
    "--keep-leases",
    is_flag=True,
    help="Keep the leases of the snapshot and the keys on them. Without it, they are removed.",
)
@click.option(
    "--from-cluster",
    metavar="NAME",
    help="The cluster that the snapshot comes from, to clone it.",
)
@click.option(
    "--revision", type=click.IntRange(1), metavar="N", help="Restore the data as of revision N of SNAPSHOT."
)
@click.option("--at", metavar="TIME", help="Restore the data as of the last known moment until TIME.")
@identity_option
@unsigned_option
@json_option
@file_option
def restore(
    snapshot: Path | None,
    revision: int | None,
    at: str | None,
    file: Path,
    yes_restore: str | None,
    again: bool,
    undo: bool,
    keep_leases: bool,
    from_cluster: str | None,
    identity: Path | None,
    unsigned: bool,
    as_json: bool,
) -> int:
    """Replace the data of the cluster by SNAPSHOT, as a new cluster.

    SNAPSHOT is a file, the name of a backup in `backup.to`, or `latest` for the newest backup. All data that was
    written after the snapshot is lost for clients. The old data is archived on each host, and --undo puts it back.

    A lease in a snapshot is a claim of a process at that time, for example of a Patroni leader. So all leases and the
    keys on them are removed before a client can connect.

    A snapshot has the history since the last compaction before it. --revision and --at restore an earlier moment of it:
    `etcdup backup log` shows which.

    If a restore is interrupted, run the same command again to resume. With --json and without --yes-restore, it only
    prints the plan, and the exit code is 3.

    \b
    Examples:
      etcdup restore latest
      etcdup restore prod-20261125T120000Z --revision 81234
      etcdup restore ./db.snapshot --from-cluster staging
      etcdup restore --undo
    """
    from etcdup.cli.restore.restore import restore_cluster
    from etcdup.cli.restore.undo import undo_restore

    if undo == (snapshot is not None):
        raise click.UsageError("pass a SNAPSHOT or --undo, and not both")
    if revision is not None and at is not None:
        raise click.UsageError("pass --revision or --at, and not both")
    if undo and (revision is not None or at is not None):
        raise click.UsageError("--undo takes no --revision and no --at")
    if snapshot is None:
        return undo_restore(file, yes_restore, keep_leases=keep_leases, as_json=as_json)
    return restore_cluster(
        file,
        snapshot,
        yes_restore,
        again=again,
        keep_leases=keep_leases,
        origin=from_cluster,
        identity=identity,
        unsigned=unsigned,
        revision=revision,
        at=at,
        as_json=as_json,
    )


@click.command(context_settings=HELP_OPTIONS)
@click.option(
    "--fenced",
    metavar="NAME",
    multiple=True,
    shell_complete=complete_host,
    help="This host is powered off and stays off. Can be repeated.",
)
@click.option("--yes-recover", metavar="NAME", help="The name of the cluster, to skip the confirmation.")
@click.option(
    "--without-copy", is_flag=True, help="Do not copy the old data, if a host has not enough free space."
)
@json_option
@file_option
def recover(
    file: Path, yes_recover: str | None, fenced: tuple[str, ...], without_copy: bool, as_json: bool
) -> int:
    """Recover a cluster that has lost its quorum.

    If the quorum can be repaired without losing data, recover does only that. Otherwise it rebuilds the cluster on one
    host, from the newest data that it can reach. Writes that only the lost members had are then lost.

    Before the rebuild, a snapshot of each surviving member is saved on this machine, and its data is copied on its own
    host. If a member does not respond, its data is read from its disk; this is a separate plan with its own
    confirmation.

    With --json and without --yes-recover, it only prints the plan, and the exit code is 3.

    \b
    Examples:
      etcdup recover
      etcdup recover --fenced infra2 --fenced infra3
    """
    from etcdup.cli.restore.recover import recover_cluster

    return recover_cluster(file, yes_recover, fenced, copies=not without_copy, as_json=as_json)


VERBS: tuple[click.Command, ...] = (restore, recover)
