"""`etcdup certs issue` and `certs forget`."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.cluster_file import path_from_here, read_spec
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.certs_json import archived_consumer_json, consumer_json
from etcdup.cli.views.text import json_text
from etcdup.core.certs.client_configs import consumer_text
from etcdup.core.certs.consumer_roles import KUBE_APISERVER, is_gateway_role, role_of
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.certs.consumers import IssuedConsumer, ReplacedCert, export_consumer, issue_consumer
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.x509 import UnusableFile, read_file
from etcdup.ops.previous_endpoints import read_previous_endpoints


def issue_certificate(
    file: Path, name: str, *, role: str | None, csr: Path | None, out: Path | None, renew: bool, as_json: bool
) -> int:
    """Issue a certificate, without any connection to a host. The configuration goes to stdout, notes go to stderr."""
    terminal = Terminal()
    spec, folder = read_spec(file), file.absolute().parent
    ask = (
        (lambda: terminal.read_secret(f"Passphrase of the CA in {path_from_here(spec.tls.dir, folder)}: "))
        if terminal.can_ask
        else None
    )
    request = _read_request(csr) if csr is not None else None
    pki, now = open_pki(spec, folder, ask), datetime.now(UTC)
    issued = issue_consumer(spec, folder, pki, name, now, csr=request, renew=renew, consumer_role=role)
    if out is not None:
        issued = replace(issued, files=export_consumer(issued, out.absolute()))
    role = role or role_of(name)
    text = consumer_text(role, spec, issued.files, read_previous_endpoints(spec, folder))
    terminal.print_data(json_text(consumer_json(spec, name, role, issued, text)) if as_json else text)
    where = path_from_here(spec.tls.dir, folder)
    for line in (*_holder_notes(name, role, issued), *_replaced_notes(where, issued.replaced)):
        terminal.say(f"{terminal.err('yellow', 'note:')} {line}")
    return EXIT_DONE


def forget_consumer(file: Path, name: str, *, as_json: bool) -> int:
    """Archive a consumer's certificate, without any connection to a host."""
    terminal = Terminal()
    spec, folder = read_spec(file), file.absolute().parent
    pki = open_pki(spec, folder)
    cert = pki.observe().certs.get(f"client/{name}")
    kept = pki.archive_consumer(name)
    if as_json and cert is not None:
        terminal.print_data(json_text(archived_consumer_json(spec, name, kept, cert)))
    where = path_from_here(spec.tls.dir, folder)
    terminal.say(f"{name} is forgotten: its certificate is archived in {where}/former/clients")
    terminal.say(
        f"{terminal.err('yellow', 'note:')} etcd accepts this certificate until it expires; to end it now, run "
        f"`etcdup certs revoke {name}`"
    )
    return EXIT_DONE


def _read_request(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnusableFile as unusable:
        raise UsageError(f"--csr: {unusable.message}") from None


def _holder_notes(name: str, role: str, issued: IssuedConsumer) -> tuple[str, ...]:
    """Return what the holder of the certificate can do, and until when (rules 20, 118)."""
    until, user = f"{issued.cert.not_after:%Y-%m-%d}", issued.cert.common_name
    rights = f"it has only the rights of the user {user}"
    if not user:
        rights = "it needs a user and a password: it has no common name"
    notes = [
        f"a client with this key can read and write all data. If etcd's `auth` is enabled, {rights}",
        f"it is valid until {until}. If the key is compromised, run `etcdup certs revoke {name}`",
    ]
    if user and is_gateway_role(role):
        notes.append(
            f"it has the common name {user}. With `auth` enabled, etcd refuses each request of such a client at its "
            f"JSON gateway. Before you enable it, run `etcdup certs issue {name} --role {role} --renew` and copy the "
            "files"
        )
    if role == KUBE_APISERVER:
        notes.append(f"with `auth` enabled, the user {user} needs the role root: otherwise it cannot compact")
    return tuple(notes)


def _replaced_notes(pki: str, replaced: ReplacedCert | None) -> tuple[str, ...]:
    if replaced is None:
        return ()
    return (
        f"the previous certificate is in {pki}/former/clients. etcd accepts it too until "
        f"{replaced.cert.not_after:%Y-%m-%d}. `etcdup certs list` shows it until then",
        f"if its key may be compromised, run `etcdup certs revoke replaced/{replaced.kept.stem}`",
    )
