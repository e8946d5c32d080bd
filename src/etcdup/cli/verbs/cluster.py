"""The cluster's own verbs, from its file to its end."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option


@click.command(context_settings=HELP_OPTIONS)
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--name", default="prod", show_default=True, help="The cluster's name.")
@click.option("--user", default="root", show_default=True, help="Whom to log in as over SSH.")
@file_option
def init(addresses: tuple[str, ...], name: str, user: str, file: Path) -> int:
    """Write a commented cluster.yaml to start from."""
    from etcdup.cli.setup.init import write_file

    return write_file(file, name, addresses, user)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Keep the plan for `apply FILE`."
)
@click.option("--exit-code", is_flag=True, help="End with 3 when there is something to do.")
@file_option
def plan(file: Path, as_json: bool, out: Path | None, exit_code: bool) -> int:
    """Show what apply would do, step by step, and why. Changes nothing."""
    from etcdup.cli.apply.plan import show_plan

    return show_plan(file, as_json=as_json, out=out, tell_changes=exit_code)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("plan", type=click.Path(path_type=Path), required=False, metavar="[PLAN]")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@json_option
@file_option
def apply(file: Path, plan: Path | None, yes: bool, as_json: bool) -> int:
    """Make the cluster what its file says. PLAN is a file from `plan --out`.

    A second apply finds nothing to do. If one is interrupted, the next goes on from there. With --json nobody is asked:
    without --yes it ends with the plan, and with 3.
    """
    from etcdup.cli.apply.apply import apply_file

    return apply_file(file, saved=plan, yes=yes, as_json=as_json)


@click.group(context_settings=HELP_OPTIONS)
def member() -> None:
    """Replace a member. Adding and removing is an edit of `hosts` and an apply."""


@member.command(context_settings=HELP_OPTIONS)
@click.argument("name")
@click.option("--address", metavar="NEW", help="The new machine's address, which is written into the file.")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@file_option
def replace(name: str, address: str | None, yes: bool, file: Path) -> int:
    """Put a new member in the place of NAME: a dead host, a lost disk, a new machine.

    Nothing is needed of the old one. Where its disk is still there, its data is moved aside, never deleted.
    """
    from etcdup.cli.apply.replace import replace_member

    return replace_member(file, name, address=address, yes=yes)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option("--watch", is_flag=True, help="Keep showing it, until Ctrl-C.")
@file_option
def status(file: Path, as_json: bool, watch: bool) -> int:
    """Show every member: role, version, size, certificates, and what is wrong."""
    from etcdup.cli.status.status import show_status

    return show_status(file, as_json=as_json, watch=watch)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def health(file: Path, as_json: bool) -> int:
    """Prove each member by a write and a read through it.

    The last line is `cluster is healthy`, and the exit code 0, only if all of them are.
    """
    from etcdup.cli.status.health import show_health

    return show_health(file, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("snapshot", type=click.Path(path_type=Path), required=False)
@click.option("--undo", is_flag=True, help="Put back what the last restore moved aside; no SNAPSHOT then.")
@click.option("--yes-restore", metavar="NAME", help="The cluster's name, instead of being asked for it.")
@click.option("--again", is_flag=True, help="Also where this very snapshot was the last one restored.")
@click.option("--from-cluster", metavar="NAME", help="Whose data it is, where it is another's: a clone.")
@identity_option
@json_option
@file_option
def restore(
    snapshot: Path | None,
    file: Path,
    yes_restore: str | None,
    again: bool,
    undo: bool,
    from_cluster: str | None,
    identity: Path | None,
    as_json: bool,
) -> int:
    """Make the cluster's data what SNAPSHOT holds, as a new cluster.

    SNAPSHOT is a file, or a backup's name in `backup.to`, or `latest` for the newest there.
    The old data is moved aside on each host. Interrupted, the same restore goes on from there. With --json nobody is
    asked: without --yes-restore it ends with the plan, and with 3.
    """
    from etcdup.cli.restore.restore import restore_cluster, undo_restore

    if undo == (snapshot is not None):
        raise click.UsageError("give a SNAPSHOT to restore, or --undo")
    if snapshot is None:
        return undo_restore(file, yes_restore, as_json=as_json)
    return restore_cluster(
        file, snapshot, yes_restore, again=again, origin=from_cluster, identity=identity, as_json=as_json
    )


@click.command(context_settings=HELP_OPTIONS)
@click.option(
    "--fenced", metavar="NAME", multiple=True, help="This host is off, and stays off. May be given again."
)
@click.option("--yes-recover", metavar="NAME", help="The cluster's name, instead of being asked for it.")
@click.option("--without-copy", is_flag=True, help="Where a host has no room for a copy of its data.")
@json_option
@file_option
def recover(
    file: Path, yes_recover: str | None, fenced: tuple[str, ...], without_copy: bool, as_json: bool
) -> int:
    """Rebuild a cluster that has lost its quorum, from the newest data within reach.

    Refuses where something that costs nothing would do. A snapshot of each survivor is kept on this machine
    first, and a copy of its data on its own host before anything takes its place. Where a member does not answer, its
    data is taken off its disk: that is a plan of its own before the other. With --json nobody is asked: without
    --yes-recover it ends with the plan, and with 3.
    """
    from etcdup.cli.restore.recover import recover_cluster

    return recover_cluster(file, yes_recover, fenced, copies=not without_copy, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option("--disk", is_flag=True, help="Also time small writes where no member has its data yet.")
@file_option
def check(file: Path, as_json: bool, disk: bool) -> int:
    """Look for what is wrong, or will be: before there is a cluster, and ever after. Changes nothing.

    Ends with 1 when something is wrong, with 0 when there is advice at most.
    """
    from etcdup.cli.status.check import check_cluster

    return check_cluster(file, as_json=as_json, disk=disk)


@click.command(context_settings=HELP_OPTIONS)
@click.option("--yes-destroy", metavar="NAME", help="The cluster's name, instead of being asked for it.")
@file_option
def destroy(file: Path, yes_destroy: str | None) -> int:
    """Stop the cluster for good. Its data is moved aside on each host, never deleted."""
    from etcdup.cli.apply.destroy import destroy_cluster

    return destroy_cluster(file, yes_destroy)


VERBS: tuple[click.Command, ...] = (
    init, plan, apply, member, status, health, check, restore, recover, destroy,
)  # fmt: skip
