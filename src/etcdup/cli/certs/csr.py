"""`etcdup certs csr`."""

from pathlib import Path

from etcdup.cli.run.cluster_file import path_in_file, read_spec
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.certs_json import requests_json
from etcdup.cli.views.step_texts import count_text
from etcdup.cli.views.text import json_text
from etcdup.errors import EXIT_DONE
from etcdup.ops.pki.requests import request_all, tls_section


def write_requests(file: Path, out: Path, *, as_json: bool) -> int:
    """Write the requests, without any connection to a host. The tls section goes to stdout, notes go to stderr."""
    terminal, spec = Terminal(), read_spec(file)
    written = request_all(spec, out.absolute())
    section = tls_section(path_in_file(out.absolute(), file.absolute().parent))
    terminal.print_data(
        json_text(requests_json(spec, out.absolute(), written, section)) if as_json else section
    )
    for line in (
        f"{count_text(len(written), 'request')} in {out}: have each request signed, with its names and usages",
        "save each certificate next to its key, as server.pem, peer.pem and health.pem, followed by its "
        f"intermediate certificates. Save the CA certificate as {out}/ca.pem. Then add the section above to {file} "
        "and run `etcdup apply`",
        "use a separate CA for peer.csr if you can (`peer_ca`): a program with any certificate of that CA can send "
        "raft messages",
        f"keep the keys in {out} secret, and keep a backup of them",
    ):
        terminal.say(f"{terminal.err('yellow', 'note:')} {line}")
    return EXIT_DONE
