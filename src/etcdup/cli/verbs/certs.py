"""Verbs about certificates."""

from pathlib import Path

import click

from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, json_option

ROLES = ("kube-apiserver", "patroni", "prometheus", "client")


@click.group(context_settings=HELP_OPTIONS)
def certs() -> None:
    """List certificates, renew them, issue them for consumers."""


@certs.command("list", context_settings=HELP_OPTIONS)
@click.option(
    "--days", type=click.IntRange(min=0), metavar="N", help="End with 1 if one has fewer days left."
)
@json_option
@file_option
def list_(file: Path, as_json: bool, days: int | None) -> int:
    """Show every certificate: here, on each host, and as each port serves it.

    Ends with 1 when one ends soon (without --days: a third of its life is left, or 30 days for a CA and for provided
    ones), differs from place to place, or cannot be seen.
    """
    from etcdup.cli.certs.list_certs import list_certificates

    return list_certificates(file, days=days, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.option("--days", type=click.IntRange(min=1), metavar="N", help="Renew what has fewer days left.")
@click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
@json_option
@file_option
def renew(file: Path, days: int | None, yes: bool, as_json: bool) -> int:
    """Issue certificates anew and bring them to the members, without a restart.

    Without --days: those that have less than a third of their life left, as apply does. Keys stay, so that no handshake
    fails meanwhile; rotate-ca makes new ones. It ends with a new handshake on every port. Stopped members are started:
    this heals a cluster whose certificates have all expired.
    """
    from etcdup.cli.certs.renew import renew_certificates

    return renew_certificates(file, days=days, yes=yes, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.argument("name")
@click.option(
    "--role", type=click.Choice(ROLES), help="Whose configuration to print.  [default: NAME, or client]"
)
@click.option(
    "--csr", type=click.Path(path_type=Path), metavar="FILE", help="Sign this request; its key stays away."
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Also put the files there.")
@click.option("--renew", is_flag=True, help="With a new key and certificate, although the old one lasts.")
@json_option
@file_option
def issue(
    file: Path, name: str, role: str | None, csr: Path | None, out: Path | None, renew: bool, as_json: bool
) -> int:
    """Issue a client certificate for the consumer NAME, and print its configuration."""
    from etcdup.cli.certs.issue import issue_certificate

    return issue_certificate(file, name, role=role, csr=csr, out=out, renew=renew, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=Path("requests"),
    show_default=True,
    help="Where keys and requests go.",
)
@json_option
@file_option
def csr(file: Path, out: Path, as_json: bool) -> int:
    """Write each member's certificate requests, for a CA that somebody else runs, and print the tls section for them.

    Keys are made where there are none yet, and stay here. Certificates must have the names and usages of the requests.
    """
    from etcdup.cli.certs.csr import write_requests

    return write_requests(file, out, as_json=as_json)


@certs.command("rotate-ca", context_settings=HELP_OPTIONS)
@click.option("-y", "--yes", is_flag=True, help="Do the next phase without asking.")
@click.option(
    "--consumers-have",
    type=click.Choice(("ca", "certs")),
    help="All of them have the CA file with both CAs / certificates of the new one.",
)
@click.option(
    "--keep-old",
    is_flag=True,
    help="Trust the old CA again: the way back from a third phase that is not whole.",
)
@json_option
@file_option
def rotate_ca(file: Path, yes: bool, consumers_have: str | None, keep_old: bool, as_json: bool) -> int:
    """Give the cluster another CA, in three phases, without losing a write.

    Each run does one phase, proves it by new handshakes, and says what consumers have to do before the next: (1) every
    member trusts the old CA and a new one; (2) every member serves a certificate of the new one; (3) the old one is
    trusted no more. Killed anywhere, the same command goes on. The third stops at the first member that turns a client
    with a certificate of the old CA away.
    """
    from etcdup.cli.certs.rotate_ca import rotate_cluster_ca

    if keep_old and consumers_have:
        raise click.UsageError("--keep-old and --consumers-have exclude each other")
    return rotate_cluster_ca(file, yes=yes, have=consumers_have, keep=keep_old, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.argument("name")
@json_option
@file_option
def forget(file: Path, name: str, as_json: bool) -> int:
    """Set the certificate of the consumer NAME aside: it gets no next one.

    etcd lets its holder in all the same, until it ends or the CA that signed it is dropped.
    """
    from etcdup.cli.certs.issue import forget_consumer

    return forget_consumer(file, name, as_json=as_json)


VERBS: tuple[click.Command, ...] = (certs,)
