"""Certificate revocation lists (RFC 5280, section 5): read them, and make the list of a managed PKI.

etcd reads the file for each handshake. It compares serial numbers only: it checks neither the signature nor the dates.
From 3.6 on it reads DER only (tests/local/test_etcd_crl.py).
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from etcdup.core.host.clocks import BACKDATED
from etcdup.core.observed.pki import CrlSeen
from etcdup.ops.pki.signing import SigningCa, authority_key_identifier
from etcdup.ops.pki.x509 import DAMAGED, UnusableFile, key_id

_PEM = b"-----BEGIN X509 CRL-----"
_INTEGER = 0x02


def parse_crl(path: Path, content: bytes) -> x509.CertificateRevocationList:
    """Return the list in a file, PEM or DER, after reading all its fields. Raises UnusableFile."""
    load = x509.load_pem_x509_crl if content.lstrip().startswith(_PEM) else x509.load_der_x509_crl
    try:
        crl = load(content)
        _ = crl.extensions, crl.issuer, crl.last_update_utc, [entry.serial_number for entry in crl]
    except DAMAGED:
        hint = "make it with `openssl ca -gencrl`"
        raise UnusableFile(path, "contains no certificate revocation list", hint=hint) from None
    if not _is_version_2(crl):
        hint = "make it with `crlnumber` in the configuration of `openssl ca`: etcd 3.6 rejects all clients otherwise"
        raise UnusableFile(path, "is a revocation list of version 1", hint=hint)
    return crl


def _is_version_2(crl: x509.CertificateRevocationList) -> bool:
    """Return whether the list has a version: in DER, version 1 is absent, and the first part is a sequence."""
    tbs = crl.tbs_certlist_bytes
    header = 2 if tbs[1] < 0x80 else 2 + (tbs[1] & 0x7F)
    return tbs[header] == _INTEGER


def crl_der(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(Encoding.DER)


def see_crl(crl: x509.CertificateRevocationList, issuers: Sequence[x509.Certificate]) -> CrlSeen:
    """Return the public facts of a list. `issuers` are the trusted CAs."""
    der = crl_der(crl)
    signer = next((each for each in issuers if _is_signed_by(der, each)), None)
    return CrlSeen(
        sha256=sha256(der).hexdigest(),
        number=_number(crl),
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        issuer_key=key_id(signer) if signer else "",
        revoked=revoked_serials(crl),
    )


def revoked_serials(crl: x509.CertificateRevocationList) -> frozenset[str]:
    """Return the serial numbers in a list (hexadecimal)."""
    return frozenset(f"{entry.serial_number:x}" for entry in crl)


def make_crl(
    authority: SigningCa,
    previous: x509.CertificateRevocationList | None,
    serials: Collection[str],
    *,
    days: int,
    now: datetime,
) -> bytes:
    """Return a new list in DER: that of `previous`, and these serial numbers (hexadecimal)."""
    begins, ends = now - BACKDATED, min(now + timedelta(days=days), authority.cert.not_valid_after_utc)
    builder = x509.CertificateRevocationListBuilder(authority.cert.subject, begins, ends)
    number = x509.CRLNumber(1 if previous is None else _number(previous) + 1)
    builder = builder.add_extension(number, critical=False)
    builder = builder.add_extension(authority_key_identifier(authority.cert), critical=False)
    for entry in _entries(previous or (), serials, now):
        builder = builder.add_revoked_certificate(entry)
    digest = None if isinstance(authority.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return crl_der(builder.sign(authority.key, digest))


def _entries(
    previous: Iterable[x509.RevokedCertificate], serials: Collection[str], now: datetime
) -> list[x509.RevokedCertificate]:
    """Return the previous entries and new ones. A serial number has one entry, with its first date."""
    entries = {entry.serial_number: entry for entry in previous}
    for serial in sorted(serials):
        builder = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(now)
        entries.setdefault(int(serial, 16), builder.build())
    return list(entries.values())


def _number(crl: x509.CertificateRevocationList) -> int:
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


@lru_cache(maxsize=64)  # To verify a signature is slow, and each observation of the PKI does it again.
def _is_signed_by(der: bytes, issuer: x509.Certificate) -> bool:
    try:
        return x509.load_der_x509_crl(der).is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
