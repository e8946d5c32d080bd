"""Verbs for clients of the cluster."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option

EXPORTS = ("kubeadm", "kube-apiserver", "patroni", "prometheus", "apisix", "env")


@click.command(context_settings={**HELP_OPTIONS, "ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="-- ARGS...")
@click.option(
    "--endpoint",
    metavar="MEMBER",
    help="Use only the endpoint of this member (for example for `snapshot save`).",
)
@file_option
def ctl(file: Path, endpoint: str | None, arguments: tuple[str, ...]) -> int:
    """Run etcdctl with the endpoints and certificates of the cluster.

    The exit code is the exit code of etcdctl.

    \b
    Examples:
      etcdup ctl -- member list -w table
      etcdup ctl -- get /registry --prefix --keys-only
      etcdup ctl --endpoint infra1 -- snapshot save db.snapshot
    """
    from etcdup.cli.access.ctl import run_etcdctl

    return run_etcdctl(file, arguments, endpoint)


@click.command(context_settings=HELP_OPTIONS)
@click.argument("kind", metavar="KIND", type=click.Choice(EXPORTS))
@file_option
def export(file: Path, kind: str) -> int:
    """Print the configuration of a client.

    KIND is kubeadm, kube-apiserver, patroni, prometheus, apisix or env (for a shell). Except for env, a certificate
    of that name is issued if there is none. For a consumer with another name, run `etcdup certs issue NAME --role
    ROLE`.

    \b
    Examples:
      etcdup export kubeadm
      eval "$(etcdup export env)"
    """
    from etcdup.cli.access.export import print_export

    return print_export(file, kind)


VERBS = (ctl, export)
