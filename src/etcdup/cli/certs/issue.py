"""`etcdup certs issue` and `certs forget`."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.cluster_file import read_spec
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.certs_json import archived_consumer_json, consumer_json
from etcdup.cli.views.text import json_text
from etcdup.core.certs.client_configs import consumer_text, role_of
from etcdup.core.spec.model import Spec
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.certs.consumers import IssuedConsumer, ReplacedCert, export_consumer, issue_consumer
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.x509 import UnusableFile, read_file


def issue_certificate(
    file: Path, name: str, *, role: str | None, csr: Path | None, out: Path | None, renew: bool, as_json: bool
) -> int:
    """Touches no host. The configuration goes to stdout, all else that is to be known to stderr."""
    terminal = Terminal()
    spec, folder = read_spec(file), file.absolute().parent
    ask = (
        (lambda: terminal.read_secret(f"Passphrase of the CA in {spec.tls.dir}: "))
        if terminal.can_ask
        else None
    )
    request = _read_request(csr) if csr is not None else None
    pki, now = open_pki(spec, folder, ask), datetime.now(UTC)
    issued = issue_consumer(spec, folder, pki, name, now, csr=request, renew=renew)
    if out is not None:
        issued = replace(issued, files=export_consumer(issued, out.absolute()))
    role = role or role_of(name)
    text = consumer_text(role, spec, issued.files)
    terminal.print_data(json_text(consumer_json(spec, name, role, issued, text)) if as_json else text)
    for line in (*_holder_notes(name, issued), *_replaced_notes(spec, name, issued.replaced)):
        terminal.say(f"{terminal.err('yellow', 'note:')} {line}")
    return EXIT_DONE


def forget_consumer(file: Path, name: str, *, as_json: bool) -> int:
    """Touches no host."""
    terminal = Terminal()
    spec, folder = read_spec(file), file.absolute().parent
    pki = open_pki(spec, folder)
    cert = pki.observe().certs.get(f"client/{name}")
    kept = pki.archive_consumer(name)
    if as_json and cert is not None:
        terminal.print_data(json_text(archived_consumer_json(spec, name, kept, cert)))
    terminal.say(f"{name} is forgotten: its certificate is in {spec.tls.dir}/former/clients")
    terminal.say(
        f"{terminal.err('yellow', 'note:')} etcd asks no revocation list, so it lets the holder in until that "
        "certificate ends; to end it now, enable etcd's `auth` with no user of that name, or "
        "`etcdup certs rotate-ca`"
    )
    return EXIT_DONE


def _read_request(path: Path) -> bytes:
    try:
        return read_file(path)
    except UnusableFile as unusable:
        raise UsageError(f"--csr: {unusable.message}") from None


def _holder_notes(name: str, issued: IssuedConsumer) -> tuple[str, ...]:
    """What the holder of the certificate may do, and until when (rule 20). etcd is given no revocation list."""
    until = f"{issued.cert.not_after:%Y-%m-%d}"
    return (
        "whoever holds this key reads and writes everything, until `auth` is enabled in etcd and makes it the "
        f"user {name}",
        f"it is good until {until} and cannot be called back: should the key be lost, enable auth and have no "
        f"user {name}, or have the cluster trust another CA",
    )


def _replaced_notes(spec: Spec, name: str, replaced: ReplacedCert | None) -> tuple[str, ...]:
    if replaced is None:
        return ()
    return (
        f"the one of before is in {spec.tls.dir}/former/clients, and etcd takes it as well until "
        f"{replaced.cert.not_after:%Y-%m-%d}: it asks no revocation list. `certs list` shows it until then",
        "if its key may be in wrong hands, `etcdup certs rotate-ca` ends it. etcd's `auth` alone does not, since both "
        f"are the user {name}: that takes a certificate of another name, and no user {name}",
    )
