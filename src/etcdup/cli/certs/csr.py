"""`etcdup certs csr`."""

import os
from pathlib import Path

from etcdup.cli.run.cluster_file import read_spec
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.certs_json import requests_json
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.errors import EXIT_DONE
from etcdup.ops.pki.requests import request_all, tls_section


def write_requests(file: Path, out: Path, *, as_json: bool) -> int:
    """Touches no host. The tls section goes to stdout, all else that is to be known to stderr."""
    terminal, spec = Terminal(), read_spec(file)
    written = request_all(spec, out.absolute())
    shown = os.path.relpath(out.absolute(), file.absolute().parent)
    section = tls_section(f"./{shown}" if not shown.startswith("..") else str(out.absolute()))
    terminal.print_data(
        json_text(requests_json(spec, out.absolute(), written, section)) if as_json else section
    )
    for line in (
        f"{count_text(len(written), 'request')} in {out}: have each signed, with the names and usages that it asks for",
        "put each certificate beside its key, as server.pem, peer.pem and health.pem (its intermediates after it), and "
        f"the CA's as {out}/ca.pem; then put the section above into {file} and `etcdup apply`",
        "a CA of its own for peer.csr is better (`peer_ca`): whoever holds any certificate of that CA can speak raft",
        f"nobody but you needs the keys in {out}: keep a backup",
    ):
        terminal.say(f"{terminal.err('yellow', 'note:')} {line}")
    return EXIT_DONE
