"""`etcdup export`."""

from datetime import UTC, datetime
from pathlib import Path

from etcdup.cli.run.cluster_file import path_from_here, read_spec
from etcdup.cli.run.terminal import Terminal
from etcdup.core.certs.client_configs import consumer_text
from etcdup.core.certs.consumer_roles import KUBE_APISERVER
from etcdup.core.certs.exports import env_text, kubeadm_text
from etcdup.errors import EXIT_DONE
from etcdup.ops.certs.export import admin_files, issue_consumer_files
from etcdup.ops.pki.open import open_pki
from etcdup.ops.previous_endpoints import read_previous_endpoints


def print_export(file: Path, kind: str) -> int:
    """Print a configuration, without any connection to a host. Issue the consumer's certificate if there is none."""
    terminal = Terminal()
    spec, folder = read_spec(file), file.absolute().parent
    ask = (
        (lambda: terminal.read_secret(f"Passphrase of the CA in {path_from_here(spec.tls.dir, folder)}: "))
        if terminal.can_ask
        else None
    )
    pki = open_pki(spec, folder, ask)
    previous = read_previous_endpoints(spec, folder)
    if kind == "env":
        text = env_text(spec, admin_files(spec, folder, pki), previous)
    else:
        name = KUBE_APISERVER if kind == "kubeadm" else kind
        files = issue_consumer_files(spec, folder, pki, name, datetime.now(UTC))
        text = (
            kubeadm_text(spec, files, previous)
            if kind == "kubeadm"
            else consumer_text(kind, spec, files, previous)
        )
    terminal.print_data(text)
    return EXIT_DONE
