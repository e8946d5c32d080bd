"""A consumer's certificate: issued or signed here, and brought together with the CA in a folder to take away."""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from etcdup.core.certs.client_configs import RESERVED
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.observed.model import CertSeen
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError, UsageError
from etcdup.ops.certs.export import client_files
from etcdup.ops.files import write_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE, make_private_folder
from etcdup.ops.pki.pki import Pki

# What stands for the key's path where the key was never here.
KEY_OF_REQUEST = "the key of the request"


@dataclass(frozen=True)
class ReplacedCert:
    """The certificate of before, and where it is kept: etcd takes it until it ends or its CA is dropped."""

    cert: CertSeen
    kept: Path


@dataclass(frozen=True)
class IssuedConsumer:
    files: ClientFiles
    cert: CertSeen
    has_key: bool
    past: frozenset[str] = frozenset()
    replaced: ReplacedCert | None = None


def issue_consumer(
    spec: Spec, folder: Path, pki: Pki, name: str, now: datetime, *, csr: bytes | None, renew: bool
) -> IssuedConsumer:
    """The certificate there is, unless it is due or `renew` is set; with a request always a new one for its key.

    `folder` is cluster.yaml's. Raises PkiError.
    """
    if name in RESERVED:
        raise PkiError(f"`{name}` is no consumer's name: certificates of that name are etcdup's own")
    if spec.tls.mode == "managed" and pki.observe().ca is None:
        raise PkiError("this cluster has no CA yet", hint="`etcdup apply` makes it with the cluster")
    role = f"client/{name}"
    before = pki.observe().certs.get(role) if spec.tls.mode == "managed" else None
    if csr is None:
        pki.issue_consumer(name, now, renew=renew)
    else:
        pki.sign_consumer(name, csr, now)
    files = client_files(spec, folder, name)
    if csr is not None:
        files = replace(files, key=KEY_OF_REQUEST)
    seen = pki.observe()
    replaced = _find_replaced(pki, before, seen.certs[role], now)
    return IssuedConsumer(files, seen.certs[role], csr is None, seen.past, replaced)


def _find_replaced(pki: Pki, before: CertSeen | None, made: CertSeen, now: datetime) -> ReplacedCert | None:
    """None too where etcd does not take the one of before: it ended, or no trusted CA signed it."""
    if before is None or before.fingerprint == made.fingerprint:
        return None
    if not before.issuer_key or before.not_after <= now:
        return None
    kept = (
        path for path in pki.archived_consumers() if sha256(path.read_bytes()).hexdigest() == before.sha256
    )
    return ReplacedCert(before, next(kept))


def _is_ours(there: bytes, ca: bytes, past: frozenset[str]) -> bool:
    """The CA file of this cluster, as it is or as it was before a rotation."""
    return there == ca or sha256(there).hexdigest() in past


def export_consumer(issued: IssuedConsumer, folder: Path) -> ClientFiles:
    """Copies of the files in a folder that is made if need be. A file of another CA there is not overwritten."""
    there = ClientFiles(
        ca=str(folder / "ca.pem"),
        cert=str(folder / Path(issued.files.cert).name),
        key=str(folder / Path(issued.files.key).name) if issued.has_key else issued.files.key,
    )
    ca = Path(issued.files.ca).read_bytes()
    if Path(there.ca).exists() and not _is_ours(Path(there.ca).read_bytes(), ca, issued.past):
        raise UsageError(f"{there.ca} is there already and holds another CA", hint="name another folder")
    try:
        if not folder.is_dir():
            make_private_folder(folder)
        if issued.has_key:  # before its certificate: see pki_managed
            write_file(Path(there.key), Path(issued.files.key).read_bytes(), KEY_MODE)
        write_file(Path(there.cert), Path(issued.files.cert).read_bytes(), CERT_MODE)
        write_file(Path(there.ca), ca, CERT_MODE)
    except OSError as error:
        raise PkiError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    return there
