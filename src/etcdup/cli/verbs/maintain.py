"""Verbs that maintain the database of a cluster."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_backup, complete_host
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, identity_option, json_option, unsigned_option


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def maintain() -> None:
    """Show and free the space of the database, move the leader, compare the data of members."""


@maintain.command(context_settings=HELP_OPTIONS)
@click.argument(
    "backup", type=click.Path(path_type=Path), required=False, metavar="[BACKUP]",
    shell_complete=complete_backup,
)  # fmt: skip
@click.option("--live", is_flag=True, help="Read a new snapshot of a follower, not a backup.")
@click.option("--prefix", default="", metavar="P", help="List only keys that begin with P.")
@identity_option
@unsigned_option
@json_option
@file_option
def space(
    backup: Path | None,
    live: bool,
    prefix: str,
    identity: Path | None,
    unsigned: bool,
    file: Path,
    as_json: bool,
) -> int:
    """Show which keys, old revisions and leases use the space of the database.

    It reads BACKUP, which is a backup or a snapshot file, or the newest backup. With --live, a follower sends one
    snapshot. The keys of the running cluster are never read one by one. No value is printed.

    \b
    Examples:
      etcdup maintain space
      etcdup maintain space --live --prefix /registry/
    """
    from etcdup.cli.maintain.space import show_space

    if live and backup is not None:
        raise click.UsageError("pass a BACKUP or --live, and not both")
    return show_space(
        file,
        backup or Path("latest"),
        prefix,
        live=live,
        identity=identity,
        unsigned=unsigned,
        as_json=as_json,
    )


@maintain.command(context_settings=HELP_OPTIONS)
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=complete_host)
@click.option("--all", "every", is_flag=True, help="All members, also those that would free little.")
@click.option(
    "--over",
    metavar="SIZE",
    default="200MiB",
    show_default=True,
    help="Without a NAME: members that free this much (32MiB or more), and 40 % of their file.",
)
@click.option("--offline", is_flag=True, help="Stop each member meanwhile, as a rolling restart does.")
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def defrag(
    names: tuple[str, ...], every: bool, over: str, offline: bool, yes: bool, file: Path, as_json: bool
) -> int:
    """Defragment the databases of members, one after the other.

    etcd reuses the space of deleted data, but gives it back to the disk only with a defragmentation. The member is
    blocked meanwhile: its clients wait, about 15 s for each GiB of data. The other members serve their clients.

    Followers are first. The leader transfers its leadership, and is last. Before each member, all members must be
    healthy and in sync. Members whose size is near their quota are due earlier.

    A member continues a defragmentation that it has begun, even if etcdup is killed. Run the same command again to
    resume.

    With --offline, each member is stopped, its database is defragmented with etcdutl, and it starts again. No client
    waits for a blocked member: clients connect to the other members. At the end each member is proved.

    \b
    Examples:
      etcdup maintain defrag
      etcdup maintain defrag infra2
      etcdup maintain defrag --over 1GiB --yes
      etcdup maintain defrag --offline
    """
    from etcdup.cli.maintain.defrag import defragment_members

    return defragment_members(file, names, every=every, over=over, offline=offline, yes=yes, as_json=as_json)


@maintain.command("fix-space", context_settings=HELP_OPTIONS)
@click.option(
    "--keep-history",
    metavar="DURATION",
    help="Keep the history of this time. Default: of 5m, or less if that would free too little.",
)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def fix_space(keep_history: str | None, yes: bool, file: Path, as_json: bool) -> int:
    """Free space if the database is full (NOSPACE) or nearly full. No key is deleted.

    A follower sends a snapshot. It shows what uses the space, and whether a compaction of the history and a
    defragmentation free enough on every member. If not, nothing is changed, and the refusal names the quota that helps.

    Otherwise: compact the history if that is needed, defragment the members that are near their quota, one after the
    other and the leader last, and disarm the alarm when every database is below its quota. At the end, each member is
    proved by a write. The snapshot with the history is kept on this machine.

    Run the same command again to resume.

    \b
    Examples:
      etcdup maintain fix-space
      etcdup maintain fix-space --keep-history 1h
    """
    from etcdup.cli.maintain.fix_space import fix_space

    return fix_space(file, keep_history, yes=yes, as_json=as_json)


@maintain.command("move-leader", context_settings=HELP_OPTIONS)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_host)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def move_leader(name: str | None, yes: bool, file: Path, as_json: bool) -> int:
    """Transfer the leadership to NAME, or to another member.

    Without NAME, it is the follower whose data is newest. The command ends when all members follow the new leader.
    """
    from etcdup.cli.maintain.move_leader import move_leader

    return move_leader(file, name, yes=yes, as_json=as_json)


@maintain.command(context_settings=HELP_OPTIONS)
@json_option
@file_option
def verify(file: Path, as_json: bool) -> int:
    """Compare the data of all members at one revision. Change nothing.

    Each member computes a hash of its whole database, one member after the other and the leader last. It applies no
    write meanwhile. The exit code is 1 if the data differs, or if a member could not be compared.
    """
    from etcdup.cli.maintain.verify import verify_members

    return verify_members(file, as_json=as_json)


@maintain.command(context_settings=HELP_OPTIONS)
@click.argument("name", shell_complete=complete_host)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def repair(name: str, yes: bool, file: Path, as_json: bool) -> int:
    """Replace the member NAME, whose data is wrong or damaged.

    First the data of all members is compared, as by `maintain verify`. The others must be healthy, have the same data
    and be a majority of at least three members. NAME must have other data, or not start because its data is damaged, or
    not serve while the alarm CORRUPT names it. Otherwise nothing is changed.

    A member with the right data sends a snapshot, which is kept on this machine. Then NAME is removed, the alarm
    CORRUPT is disarmed, the old data of NAME is archived on its host, and a new member joins there as a learner. At the
    end the data of all members is compared again.

    If the data of all members is the same, only an alarm CORRUPT is disarmed. Run the same command again to resume.

    \b
    Example:
      etcdup maintain repair infra2
    """
    from etcdup.cli.maintain.repair import repair_member

    return repair_member(file, name, yes=yes, as_json=as_json)


VERBS: tuple[click.Command, ...] = (maintain,)
