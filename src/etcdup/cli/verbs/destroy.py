"""The verb that stops a cluster permanently."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option


@click.command(context_settings=HELP_OPTIONS)
@click.option("--yes-destroy", metavar="NAME", help="The name of the cluster, to skip the confirmation.")
@file_option
def destroy(file: Path, yes_destroy: str | None) -> int:
    """Stop the cluster permanently. Its data is archived on each host, never deleted. Its private keys are deleted."""
    from etcdup.cli.apply.destroy import destroy_cluster

    return destroy_cluster(file, yes_destroy)


VERBS: tuple[click.Command, ...] = (destroy,)
