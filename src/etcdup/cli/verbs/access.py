"""Ways for others to use the cluster."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option


@click.command(context_settings={**HELP_OPTIONS, "ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="-- ARGS...")
@click.option("--endpoint", metavar="MEMBER", help="Only this member, for `snapshot save` and the like.")
@file_option
def ctl(file: Path, endpoint: str | None, arguments: tuple[str, ...]) -> int:
    """Run etcdctl with the right endpoints and certificates.

    For example `etcdup ctl -- member list -w table`. Its exit code is etcdctl's.
    """
    from etcdup.cli.access.ctl import run_etcdctl

    return run_etcdctl(file, arguments, endpoint)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("kind", metavar="KIND", type=click.Choice(["kubeadm", "kube-apiserver", "env"]))
@file_option
def export(file: Path, kind: str) -> int:
    """Print what kubeadm, kube-apiserver or a shell (env) needs to use it.

    A certificate for the consumer is issued when there is none.
    """
    from etcdup.cli.access.export import print_export

    return print_export(file, kind)


VERBS = (ctl, export)
