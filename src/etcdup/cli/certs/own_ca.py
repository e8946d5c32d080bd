"""`etcdup certs own-ca`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.apply.warnings import check_tls_files
from etcdup.cli.run.cluster_file import path_in_file
from etcdup.cli.run.session import Session
from etcdup.cli.views.certs_json import own_ca_json
from etcdup.cli.views.text import json_text
from etcdup.core.spec.model import Spec
from etcdup.core.spec.template import scalar
from etcdup.errors import EXIT_DONE, UsageError
from etcdup.ops.pki.archive import refuse_existing
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.own_ca import make_own_ca
from etcdup.ops.pki.passphrase import configured_passphrase


def write_own_ca(file: Path, directory: Path, *, as_json: bool) -> int:
    """Write the PKI directory, without any connection to a host. The section goes to stdout, notes go to stderr."""
    session = Session.begin(file)
    spec, folder, root, terminal = session.spec, session.folder, directory.absolute(), session.terminal
    if spec.tls.mode == "managed":
        raise UsageError(
            f"the certificates of this cluster are of a CA of etcdup already, in {spec.tls.dir}",
            hint="run `etcdup certs rotate-ca` to replace this CA, with `--lost-key` if its key is lost",
        )
    refuse_existing(root)
    check_tls_files(session)
    secret = _passphrase(session, directory)
    make_own_ca(spec, folder, open_pki(spec, folder), root, datetime.now(UTC), secret)
    section = _section(spec, path_in_file(root, folder))
    terminal.print_data(json_text(own_ca_json(spec, root, section)) if as_json else section)
    for line in (
        f"{directory} has a new CA, and copies of the certificates in use. Keep a backup of it. No host was changed",
        f"replace the section `tls` of {file} by the section above, and run `etcdup apply`. The members restart one "
        "after the other, and then trust the old CA and the new CA",
        "then run `etcdup certs rotate-ca`. It lists what consumers need, and asks before the members get new "
        "certificates",
    ):
        terminal.say(f"{terminal.err('yellow', 'note:')} {line}")
    return EXIT_DONE


def _passphrase(session: Session, directory: Path) -> str | None:
    """Return the passphrase of the new key. An operator at a terminal is asked, unless it is configured."""
    configured = configured_passphrase(None, session.folder)
    if configured is not None or not session.terminal.can_ask:
        return configured
    return session.terminal.read_new_passphrase(f"the new CA key in {directory}") or None


def _section(spec: Spec, directory: str) -> str:
    """Return the section of cluster.yaml: the rule for clients stays as it is."""
    lines = ["tls:", "  mode: managed", f"  dir: {scalar(directory)}"]
    if spec.tls.client_auth != "required":
        lines.append(f"  client_auth: {spec.tls.client_auth}")
    return "\n".join(lines) + "\n"
