"""Certificate signing requests of all members, for a CA that etcdup does not manage.

DIR/NAME/{server,peer,health}.csr    and -key.pem, which never leaves; the certificate is stored next to it as .pem
"""

from pathlib import Path

from etcdup.core.certs.required import desired_certs
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.files import create_file, write_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE, folder_lock, make_private_folder
from etcdup.ops.pki.signing import key_pem, make_csr, new_key
from etcdup.ops.pki.x509 import parse_key, read_file


def request_all(spec: Spec, folder: Path) -> tuple[Path, ...]:
    """Write the requests and return their paths. An existing key is kept: a CA may be signing its request already."""
    written = []
    with folder_lock(folder):
        for wanted in desired_certs(spec):
            kind, _, name = wanted.role.partition("/")
            if not name:  # With provided files, etcdup uses the `health` certificate of a member.
                continue
            make_private_folder(folder / name)
            key_path, path = folder / name / f"{kind}-key.pem", folder / name / f"{kind}.csr"
            if not key_path.exists():
                create_file(key_path, key_pem(new_key()), KEY_MODE)
            key = parse_key(key_path, read_file(key_path))
            write_file(path, make_csr(wanted, key, spec.name), CERT_MODE)
            written.append(path)
    if not written:
        raise PkiError("cluster.yaml has no hosts, so there is no certificate to request")
    return tuple(written)


def tls_section(folder: str) -> str:
    """Return the section of cluster.yaml that uses the certificates of these requests."""
    lines = [f"  {prefix}ca: {folder}/ca.pem" for prefix in ("", "peer_")]
    for prefix, kind in (("", "server"), ("peer_", "peer"), ("client_", "health")):
        lines += [
            f"  {prefix}cert: '{folder}/{{name}}/{kind}.pem'",
            f"  {prefix}key: '{folder}/{{name}}/{kind}-key.pem'",
        ]
    return "\n".join(["tls:", "  mode: provided", *lines]) + "\n"
