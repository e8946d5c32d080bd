"""A new CA for members whose certificates are provided: the PKI directory of a rotation that has begun.

The directory is that of a managed PKI after the change of phase `trust` (rotation.py), but the old CA has no key in it:

    ca.pem             the provided CA and the new CA
    provided-ca.pem    the provided CA alone; while it is there, the members have no certificate of etcdup yet
    former/ca-HASH.pem the same: the CA file that hosts have now
    members/, clients/ copies of the provided certificates and keys, which stay in use until phase `sign`
    crl.der            the provided revocation list, if there is one

So the phases of `certs rotate-ca` do the rest, and need no key of the old CA.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.archive import refuse_existing, unpack_pki
from etcdup.ops.pki.backup_key import BACKUP_KEY, new_backup_key, pki_directory
from etcdup.ops.pki.generation import with_new_change
from etcdup.ops.pki.managed_paths import ManagedPaths
from etcdup.ops.pki.pki import Pki
from etcdup.ops.pki.signing import cert_pem, key_pem, make_ca, new_key
from etcdup.ops.pki.x509 import read_if_exists


def make_own_ca(
    spec: Spec, folder: Path, provided: Pki, root: Path, now: datetime, passphrase: str | None
) -> None:
    """Write the PKI directory `root`, whole or not at all. `passphrase` encrypts the key of the new CA.

    Raises PkiError if a provided file is not usable, and RefusedError if `root` exists.
    """
    refuse_existing(root)
    if fault := next((each for each in provided.check(now) if not each.is_warning), None):
        raise PkiError(str(fault), hint=fault.hint)
    seen, old = provided.observe(), provided.ca_file("ca")
    if seen.trust["ca"] != seen.trust["peer-ca"]:
        raise PkiError(
            "peers have a CA of their own (`tls.peer_ca`), and a CA of etcdup is for clients and peers",
            hint="first use one CA: docs/guides/provided-certificates.md has the steps (Change the CA)",
        )
    key = new_key()
    new = cert_pem(make_ca(key, spec.name, spec.tls.ca_days, now))
    backup_key = read_if_exists(pki_directory(spec, folder) / BACKUP_KEY)
    files = {
        "ca.pem": old.rstrip(b"\n") + b"\n" + new,
        "next-ca.pem": new,
        "next-ca-key.pem": key_pem(key, passphrase),
        "provided-ca.pem": old,
        f"former/ca-{sha256(old).hexdigest()[:16]}.pem": old,
        "generation.json": with_new_change(),
        BACKUP_KEY: backup_key or new_backup_key(),
        **dict(_pairs(provided, seen.certs)),
    }
    if "crl" in seen.crls:
        files["crl.der"] = provided.crl_file("crl")
    unpack_pki(files, root)


def _pairs(provided: Pki, roles: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    paths = ManagedPaths(Path())
    for role in roles:
        cert, key = provided.pair(role)
        yield str(paths.cert(role)), cert
        yield str(paths.key(role)), key
