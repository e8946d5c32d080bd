"""Verbs for the cluster and its members."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_host
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, consumers_option, file_option, json_option


@click.command(context_settings=HELP_OPTIONS)
@json_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Save the plan for `apply FILE`."
)
@click.option(
    "--exit-code", is_flag=True, help="Exit with 3 if there is something to do, with 1 if a host is unknown."
)
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


@click.command(context_settings=HELP_OPTIONS)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_host)
@click.option(
    "--drain", is_flag=True, help="Transfer leadership and stop the member NAME, to reboot its host."
)
@click.option("-y", "--yes", is_flag=True, help="Skip the confirmation.")
@json_option
@file_option
def restart(name: str | None, drain: bool, yes: bool, file: Path, as_json: bool) -> int:
    """Restart all members, one after the other, or only the member NAME.

    Followers restart first and the leader last. Each member is proved before the next one stops. If restart is
    interrupted, run it again: it restarts all of its members again.

    With --drain, the member stays stopped. It starts when the host boots, and `etcdup apply` starts it too.

    \b
    Examples:
      etcdup restart
      etcdup restart infra2
      etcdup restart infra2 --drain
    """
    from etcdup.cli.apply.restart import restart_members

    if drain and name is None:
        raise click.UsageError("--drain needs the NAME of one member")
    return restart_members(file, name, drain=drain, yes=yes, as_json=as_json)


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def member() -> None:
    """Replace a member. To add or remove members, edit `hosts` in cluster.yaml and run apply."""


@member.command(context_settings=HELP_OPTIONS)
@click.argument("name", shell_complete=complete_host)
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
@click.option(
    "--exit-code", is_flag=True, help="Exit with 1 if a member is not healthy or something is wrong."
)
@file_option
def status(file: Path, as_json: bool, watch: bool, exit_code: bool) -> int:
    """Show the role, version, size and problems of each member."""
    from etcdup.cli.status.status import show_status

    return show_status(file, as_json=as_json, watch=watch, signal_faults=exit_code)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("name", required=False, metavar="[NAME]", shell_complete=complete_host)
@click.option("-F", "--follow", is_flag=True, help="Print new lines until Ctrl-C.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="The last lines of each member.",
)
@click.option("--since", metavar="DURATION", help="Only lines that are newer, for example 10m or 2h.")
@json_option
@file_option
def logs(name: str | None, follow: bool, lines: int, since: str | None, file: Path, as_json: bool) -> int:
    """Print the log of all members, or of the member NAME, sorted by time.

    The exit code is 1 if the log of a host cannot be read.

    \b
    Examples:
      etcdup logs
      etcdup logs infra2 --since 1h --lines 1000
      etcdup logs --follow
    """
    from etcdup.cli.status.logs import show_logs

    return show_logs(file, name, lines=lines, since=since, follow=follow, as_json=as_json)


@click.command(context_settings=HELP_OPTIONS)
@click.option(
    "-n", "--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="The number of runs."
)
@json_option
@file_option
def history(lines: int, file: Path, as_json: bool) -> int:
    """Show the last runs that changed the cluster: who, when, verb, result and steps.

    It reads the journal in `.etcdup`, next to cluster.yaml. Runs from another directory or machine are not in it.
    """
    from etcdup.cli.status.history import show_history

    return show_history(file, lines=lines, as_json=as_json)


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


VERBS: tuple[click.Command, ...] = (plan, apply, restart, member, status, logs, history, health, check)
