"""Verbs for certificates."""

from pathlib import Path

import click

from etcdup.cli.verbs.completion import complete_consumer
from etcdup.cli.verbs.groups import Verbs
from etcdup.cli.verbs.options import HELP_OPTIONS, file_option, json_option

ROLES = ("kube-apiserver", "patroni", "prometheus", "apisix", "gateway", "client")


@click.group(cls=Verbs, context_settings=HELP_OPTIONS)
def certs() -> None:
    """List, renew, issue and revoke certificates, and rotate the CA."""


@certs.command("list", context_settings=HELP_OPTIONS)
@click.option(
    "--days",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with 1 if a certificate has fewer days left.",
)
@json_option
@file_option
def list_(file: Path, as_json: bool, days: int | None) -> int:
    """List all certificates: here, on the hosts and on the ports.

    It shows the certificates on this machine, those on each host, and those that each port serves. The exit code is
    1 if a certificate expires soon, differs between these places, or cannot be read. Without --days, "soon" means
    that less than a third of its lifetime is left, or 30 days for a CA and for provided certificates.

    \b
    Examples:
      etcdup certs list
      etcdup certs list --days 60 --json
    """
    from etcdup.cli.certs.list_certs import list_certificates

    return list_certificates(file, days=days, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.option(
    "--days", type=click.IntRange(min=1), metavar="N", help="Renew certificates that have fewer days left."
)
@click.option(
    "--this-copy",
    is_flag=True,
    help="Renew all certificates from this copy of the PKI directory, because no newer copy exists.",
)
@click.option("-y", "--yes", is_flag=True, help="Renew without a confirmation.")
@json_option
@file_option
def renew(file: Path, days: int | None, this_copy: bool, yes: bool, as_json: bool) -> int:
    """Renew certificates on the members, without a restart.

    Without --days, certificates are renewed that have less than a third of their lifetime left, as apply does. The keys
    stay the same, so that no handshake fails during the renewal; `certs rotate-ca` creates new keys.

    At the end, a new handshake on each port proves the new certificates. Stopped members are started, so this also
    repairs a cluster whose certificates have all expired.

    \b
    Examples:
      etcdup certs renew
      etcdup certs renew --days 60 --yes
    """
    from etcdup.cli.certs.renew import renew_certificates

    return renew_certificates(file, days=days, this_copy=this_copy, yes=yes, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.argument("name", shell_complete=complete_consumer)
@click.option(
    "--role",
    type=click.Choice(ROLES),
    help="The program to print a configuration for.  [default: NAME, or client]",
)
@click.option(
    "--csr",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Sign this request instead of creating a key.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Also copy the files to this directory."
)
@click.option(
    "--renew", is_flag=True, help="Issue a new key and certificate, even if the old certificate is valid."
)
@json_option
@file_option
def issue(
    file: Path, name: str, role: str | None, csr: Path | None, out: Path | None, renew: bool, as_json: bool
) -> int:
    """Issue a client certificate to the consumer NAME.

    It also prints the configuration for the consumer.

    \b
    Examples:
      etcdup certs issue kube-apiserver --out ./files
      etcdup certs issue app --csr app.csr
    """
    from etcdup.cli.certs.issue import issue_certificate

    return issue_certificate(file, name, role=role, csr=csr, out=out, renew=renew, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    default=Path("requests"),
    show_default=True,
    help="The directory for keys and requests.",
)
@json_option
@file_option
def csr(file: Path, out: Path, as_json: bool) -> int:
    """Write certificate requests for an external CA.

    It writes the requests of all members, and prints the tls section for cluster.yaml. A key is created for each
    request that has none. The keys stay on this machine. Certificates must have the names and usages of the
    requests.
    """
    from etcdup.cli.certs.csr import write_requests

    return write_requests(file, out, as_json=as_json)


@certs.command("own-ca", context_settings=HELP_OPTIONS)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@json_option
@file_option
def own_ca(file: Path, directory: Path, as_json: bool) -> int:
    """Make a CA of etcdup for a cluster with provided certificates.

    It writes the new PKI directory DIR, with copies of the certificates in use, and prints the tls section for
    cluster.yaml. No host is changed. After it, `etcdup apply` and `certs rotate-ca` replace the provided CA, and need
    no key of it.

    \b
    Examples:
      etcdup certs own-ca etcd-pki
    """
    from etcdup.cli.certs.own_ca import write_own_ca

    return write_own_ca(file, directory, as_json=as_json)


@certs.command("rotate-ca", context_settings=HELP_OPTIONS)
@click.option("-y", "--yes", is_flag=True, help="Do the next phase without a confirmation.")
@click.option(
    "--consumers-have",
    type=click.Choice(("ca", "certs")),
    help="Confirm that all consumers have the CA file with both CAs (ca), or certificates of the new CA (certs).",
)
@click.option(
    "--accept-client",
    "accepted",
    multiple=True,
    metavar="ADDRESS",
    help="Drop the old CA although etcdup could not see that this client has a certificate of the new CA. Can be "
    "repeated.",
)
@click.option(
    "--keep-old",
    is_flag=True,
    help="Undo an incomplete third phase: trust the old CA again.",
)
@click.option(
    "--lost-key",
    is_flag=True,
    help="Begin without the key of the CA, because it is lost. Phase 1 needs no key then.",
)
@json_option
@file_option
def rotate_ca(
    file: Path,
    yes: bool,
    consumers_have: str | None,
    accepted: tuple[str, ...],
    keep_old: bool,
    lost_key: bool,
    as_json: bool,
) -> int:
    """Replace the CA of the cluster in three phases.

    Each run does one phase, proves it by new handshakes, and says what consumers need before the next phase. If a run
    is interrupted, run the same command again to resume.

    \b
    Phase 1: all members trust the old CA and a new CA. They restart one after the other.
    Phase 2: all members use certificates of the new CA.
    Phase 3: all members trust only the new CA. They restart one after the other.

    In phase 3, a member drops the old CA only after each of its clients was seen on a member without it. For this,
    etcdup restarts members so that their clients connect to other members. It stops if a client is rejected, or is not
    seen, and names it.

    \b
    Examples:
      etcdup certs rotate-ca
      etcdup certs rotate-ca --consumers-have ca
      etcdup certs rotate-ca --consumers-have certs
    """
    from etcdup.cli.certs.rotate_ca import rotate_cluster_ca

    if keep_old and consumers_have:
        raise click.UsageError("--keep-old and --consumers-have exclude each other")
    if accepted and consumers_have != "certs":
        raise click.UsageError("--accept-client needs --consumers-have certs")
    if lost_key and (keep_old or consumers_have):
        raise click.UsageError("--lost-key is for phase 1, without --consumers-have and --keep-old")
    return rotate_cluster_ca(
        file,
        yes=yes,
        have=consumers_have,
        keep=keep_old,
        lost_key=lost_key,
        accepted=frozenset(accepted),
        as_json=as_json,
    )


@certs.command(context_settings=HELP_OPTIONS)
@click.argument("name", shell_complete=complete_consumer)
@click.option("-y", "--yes", is_flag=True, help="Revoke without a confirmation.")
@json_option
@file_option
def revoke(file: Path, name: str, yes: bool, as_json: bool) -> int:
    """Make all members reject the certificates of NAME, without a restart.

    NAME is a consumer, a member, or a certificate as `certs list` shows it. Of a consumer or a member, all certificates
    are revoked that etcdup has issued and that have not expired. A member gets new certificates with new keys first.

    Open connections continue until they end. At the end, a new handshake on each port proves that the revoked
    certificates are rejected.

    \b
    Examples:
      etcdup certs revoke app1
      etcdup certs revoke replaced/app1 --yes
    """
    from etcdup.cli.certs.revoke import revoke_certificates

    return revoke_certificates(file, name, yes=yes, as_json=as_json)


@certs.command(context_settings=HELP_OPTIONS)
@click.argument("name", shell_complete=complete_consumer)
@json_option
@file_option
def forget(file: Path, name: str, as_json: bool) -> int:
    """Archive the certificate of the consumer NAME.

    `certs list` no longer counts it as one in use. etcd accepts it until it expires, until it is revoked (`certs
    revoke`), or until a CA rotation drops the CA that signed it.
    """
    from etcdup.cli.certs.issue import forget_consumer

    return forget_consumer(file, name, as_json=as_json)


VERBS: tuple[click.Command, ...] = (certs,)
