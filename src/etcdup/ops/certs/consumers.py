"""Issue or sign a consumer's certificate, and export it with the CA certificate to a folder."""

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from etcdup.core.certs.client_configs import RESERVED
from etcdup.core.certs.exports import ClientFiles
from etcdup.core.observed.pki import CertSeen, PkiSeen
from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError, RefusedError, UsageError
from etcdup.ops.certs.export import client_files
from etcdup.ops.files import write_file
from etcdup.ops.pki.files import CERT_MODE, KEY_MODE, make_private_folder
from etcdup.ops.pki.pki import Pki

# The text in place of the key's path, if the key never was on this machine.
KEY_OF_REQUEST = "the key of the request"


@dataclass(frozen=True)
class ReplacedCert:
    """The previous certificate and the path of its copy. etcd accepts it until it expires or its CA is dropped."""

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
    spec: Spec,
    folder: Path,
    pki: Pki,
    name: str,
    now: datetime,
    *,
    csr: bytes | None,
    renew: bool,
    consumer_role: str | None = None,
) -> IssuedConsumer:
    """Return the consumer's certificate. It is issued again if it is due or `renew` is set.

    With a signing request (`csr`) a new certificate is always issued, for the key of the request. `folder` is the
    folder of cluster.yaml. Raises PkiError.
    """
    if name in RESERVED:
        raise PkiError(
            f"`{name}` is not a valid name for a consumer: one of etcdup's own certificates has it"
        )
    role = f"client/{name}"
    before: CertSeen | None = None
    if spec.tls.mode == "managed":
        found = pki.observe()
        if found.ca is None:
            raise PkiError("this cluster has no CA yet", hint="run `etcdup apply`, which creates it")
        refuse_early_clock(found, now)
        before = found.certs.get(role)
    _refuse_name_of_host(spec, name, pki)
    if csr is None:
        pki.issue_consumer(name, now, renew=renew, role=consumer_role)
    else:
        pki.sign_consumer(name, csr, now, role=consumer_role)
    files = client_files(spec, folder, name)
    if csr is not None:
        files = replace(files, key=KEY_OF_REQUEST)
    seen = pki.observe()
    replaced = _find_replaced(pki, before, seen.certs[role], now)
    return IssuedConsumer(files, seen.certs[role], csr is None, seen.past, replaced)


def _refuse_name_of_host(spec: Spec, name: str, pki: Pki) -> None:
    """Refuse a new consumer with the name of a host. One that was issued before can be renewed."""
    if any(name == host.name for host in spec.hosts) and f"client/{name}" not in pki.observe().certs:
        raise PkiError(
            f"`{name}` is not a valid name for a consumer: it is the name of a host, and etcd would give both the "
            "rights of one user",
            hint="use another name",
        )


def refuse_early_clock(pki: PkiSeen, now: datetime) -> None:
    """Refuse to issue while this machine's time is before the start of a certificate that etcdup issued.

    This verb connects to no host. The certificates of members show only a clock that is behind.
    """
    own = [cert for role, cert in pki.certs.items() if not role.startswith("client/")]
    early = [cert for cert in (*([pki.ca] if pki.ca else []), *own) if cert.not_before > now]
    if early:
        raise RefusedError(
            f"the clock of this machine is behind, or {early[0].path} was issued with a wrong clock: it is not valid "
            f"before {early[0].not_before:%Y-%m-%d %H:%M} UTC",
            hint="set the clock of this machine. If it is right, run `etcdup apply`: it issues that certificate again",
        )


def _find_replaced(pki: Pki, before: CertSeen | None, made: CertSeen, now: datetime) -> ReplacedCert | None:
    """Return the previous certificate, or None if etcd does not accept it: expired, or signed by no trusted CA."""
    if before is None or before.fingerprint == made.fingerprint:
        return None
    if not before.issuer_key or before.not_after <= now:
        return None
    kept = (
        path for path in pki.archived_consumers() if sha256(path.read_bytes()).hexdigest() == before.sha256
    )
    return ReplacedCert(before, next(kept))


def _is_ours(there: bytes, ca: bytes, past: frozenset[str]) -> bool:
    """Return whether it is the CA file of this cluster: the present one, or one from before a rotation."""
    return there == ca or sha256(there).hexdigest() in past


def export_consumer(issued: IssuedConsumer, folder: Path) -> ClientFiles:
    """Copy the files to a folder, which is created if needed. Raises UsageError if it has the file of another CA."""
    there = ClientFiles(
        ca=str(folder / "ca.pem"),
        cert=str(folder / Path(issued.files.cert).name),
        key=str(folder / Path(issued.files.key).name) if issued.has_key else issued.files.key,
    )
    ca = Path(issued.files.ca).read_bytes()
    if Path(there.ca).exists() and not _is_ours(Path(there.ca).read_bytes(), ca, issued.past):
        raise UsageError(f"{there.ca} already exists and contains another CA", hint="pass another folder")
    try:
        if not folder.is_dir():
            make_private_folder(folder)
        if issued.has_key:  # the key before its certificate, as in ops/pki/managed.py
            write_file(Path(there.key), Path(issued.files.key).read_bytes(), KEY_MODE)
        write_file(Path(there.cert), Path(issued.files.cert).read_bytes(), CERT_MODE)
        write_file(Path(there.ca), ca, CERT_MODE)
    except OSError as error:
        raise PkiError(f"cannot write {error.filename or folder}: {error.strerror}") from None
    return there
