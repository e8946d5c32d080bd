"""Verbs for the cluster and its members."""

from pathlib import Path

import click

from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, consumers_option, file_option, identity_option, json_option


@click.command(context_settings=HELP_OPTIONS)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--name", default="prod", show_default=True, help="The name of the cluster.")
@click.option(
    "--user",
    metavar="USER",
    help="The login user for SSH.  [default: the user that `ssh ADDRESS` logs in as]",
)
@file_option
def init(addresses: tuple[str, ...], name: str, user: str | None, file: Path) -> int:
    """Write a commented cluster.yaml to start with.

    \b
    Example:
      etcdup init --user ubuntu 10.0.0.1 10.0.0.2 10.0.0.3
    """
    from etcdup.cli.setup.init import write_file

    return write_file(file, name, addresses, user)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def validate(file: Path, as_json: bool) -> int:
    """Check cluster.yaml without a connection to a host.

    It also checks the certificates that `tls` names. The exit code is 2 if there is a problem.
    """
    from etcdup.cli.setup.validate import validate_file

    return validate_file(file, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
def schema() -> int:
    """Print the JSON schema of cluster.yaml, for editors.

    `etcdup init` writes it to `.etcdup/cluster.schema.json`, and the first line of cluster.yaml names that file.

    \b
    Example:
      etcdup schema > .etcdup/cluster.schema.json
    """
    from etcdup.cli.setup.validate import print_schema

    return print_schema()


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the plan for `apply FILE`."
)
@click.option("--exit-code", is_flag=True, help="Exit with 3 if there is something to do.")
@consumers_option
@file_option
def plan(file: Path, as_json: bool, out: Path | None, exit_code: bool, consumers_have: str | None) -> int:
    """Show the steps of apply, and the reason of each step. Change nothing.

    \b
    Examples:
      etcdup plan
      etcdup plan --out plan.json --exit-code
    """
    from etcdup.cli.apply.plan import show_plan

    return show_plan(
        file, as_json=as_json, out=out, signal_changes=exit_code, confirmed=consumers_have is not None
    )


@click.command(context_settings=HELP_OPTIONS)
@click.argument("plan", type=click.Path(path_type=Path), required=False, metavar="[PLAN]")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@consumers_option
@file_option
def apply(file: Path, plan: Path | None, yes: bool, as_json: bool, consumers_have: str | None) -> int:
    """Make the cluster match cluster.yaml.

    PLAN is a file from `plan --out`. If apply is interrupted, the next apply resumes. With --json and without
    --yes, it only prints the plan, and the exit code is 3.

    If cluster.yaml replaces all endpoints, apply stops before the last one that clients may know leaves. Give the
    clients the present and the new endpoints, then run it with --consumers-have endpoints.

    \b
    Examples:
      etcdup apply
      etcdup apply --yes --json
      etcdup apply --consumers-have endpoints
      etcdup apply plan.json
    """
    from etcdup.cli.apply.apply import apply_file

    return apply_file(file, saved=plan, yes=yes, as_json=as_json, confirmed=consumers_have is not None)


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def member() -> None:
    """Replace a member. To add or remove members, edit `hosts` in cluster.yaml and run apply."""


@member.command(context_settings=HELP_OPTIONS)
@click.argument("name")
@click.option(
    "--address", metavar="NEW", help="The address of the new machine. It is written into cluster.yaml."
)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@consumers_option
@file_option
def replace(name: str, address: str | None, yes: bool, file: Path, consumers_have: str | None) -> int:
    """Put a new member in place of the member NAME.

    The new member runs on a new machine, or on a host that lost its disk. The old member need not run. If its disk
    still exists, its data is archived, never deleted.

    \b
    Examples:
      etcdup member replace infra2
      etcdup member replace infra2 --address 10.0.0.12
    """
    from etcdup.cli.apply.replace import replace_member

    return replace_member(file, name, address=address, yes=yes, confirmed=consumers_have is not None)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option("--watch", is_flag=True, help="Print the status every second until Ctrl-C.")
@file_option
def status(file: Path, as_json: bool, watch: bool) -> int:
    """Show the role, version, size and problems of each member."""
    from etcdup.cli.status.status import show_status

    return show_status(file, as_json=as_json, watch=watch)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def health(file: Path, as_json: bool) -> int:
    """Prove the health of each member by a write and a read through it.

    The read is linearizable. Only if all members are healthy, the last line is `cluster is healthy` and the exit code
    is 0.
    """
    from etcdup.cli.status.health import show_health

    return show_health(file, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("snapshot", type=click.Path(path_type=Path), required=False)
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
@identity_option
@json_option
@file_option
def restore(
    snapshot: Path | None,
    file: Path,
    yes_restore: str | None,
    again: bool,
    undo: bool,
    keep_leases: bool,
    from_cluster: str | None,
    identity: Path | None,
    as_json: bool,
) -> int:
    """Replace the data of the cluster by SNAPSHOT, as a new cluster.

    SNAPSHOT is a file, the name of a backup in `backup.to`, or `latest` for the newest backup. All data that was
    written after the snapshot is lost for clients. The old data is archived on each host, and --undo puts it back.

    A lease in a snapshot is a claim of a process at that time, for example of a Patroni leader. So all leases and the
    keys on them are removed before a client can connect.

    If a restore is interrupted, run the same command again to resume. With --json and without --yes-restore, it only
    prints the plan, and the exit code is 3.

    \b
    Examples:
      etcdup restore latest
      etcdup restore ./db.snapshot --from-cluster staging
      etcdup restore --undo
    """
    from etcdup.cli.restore.restore import restore_cluster
    from etcdup.cli.restore.undo import undo_restore

    if undo == (snapshot is not None):
        raise click.UsageError("pass a SNAPSHOT or --undo, and not both")
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
        as_json=as_json,
    )


@click.command(context_settings=HELP_OPTIONS)
@click.option(
    "--fenced", metavar="NAME", multiple=True, help="This host is powered off and stays off. Can be repeated."
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


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option(
    "--disk", is_flag=True, help="Also measure small writes on disks that have no data of a member yet."
)
@file_option
def check(file: Path, as_json: bool, disk: bool) -> int:
    """Check hosts, members, certificates and settings for problems. Change nothing.

    It works before there is a cluster, too. The exit code is 1 if a finding is `wrong`, and 0 if there is only advice.
    """
    from etcdup.cli.status.check import check_cluster

    return check_cluster(file, as_json=as_json, disk=disk)


@click.command(context_settings=HELP_OPTIONS)
@click.option("--yes-destroy", metavar="NAME", help="The name of the cluster, to skip the confirmation.")
@file_option
def destroy(file: Path, yes_destroy: str | None) -> int:
    """Stop the cluster permanently. Its data is archived on each host, never deleted."""
    from etcdup.cli.apply.destroy import destroy_cluster

    return destroy_cluster(file, yes_destroy)


VERBS: tuple[click.Command, ...] = (
    init, validate, schema, plan, apply, member, status, health, check, restore, recover, destroy,
)  # fmt: skip
