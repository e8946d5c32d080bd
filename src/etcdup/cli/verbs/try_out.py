"""The verb that runs a cluster on this machine."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS


@click.command(context_settings=HELP_OPTIONS)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The directory of the demo.  [default: ~/.local/share/etcdup/demo]",
)
@click.option(
    "--version",
    metavar="X.Y.Z",
    help="The version of etcd.  [default: one that this machine has, or a release]",
)
@click.option(
    "--members",
    type=click.Choice(["1", "3", "5", "7"]),
    default="3",
    show_default=True,
    help="The number of members.",
)
@click.option("--down", is_flag=True, help="Stop the demo and delete its directory.")
def demo(folder: Path | None, version: str | None, members: str, down: bool) -> int:
    """Start three real members with TLS on this machine.

    The demo needs neither root nor systemd.

    \b
    Examples:
      etcdup demo
      etcdup demo --members 5 --version 3.6.14
      etcdup demo --down
    """
    from etcdup.cli.setup.demo import demo_down, demo_up

    return demo_down(folder) if down else demo_up(folder, version, int(members))


VERBS = (demo,)
