"""Valid and invalid certificates for tests, made without the PKI code of etcdup."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# From 3.13 on, Python's ssl rejects a CA without this extension (VERIFY_X509_STRICT).
_CA_KEY_USAGE = x509.KeyUsage(
    key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A certificate and its key in PEM."""

    cert: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> None:
        (folder / f"{name}.pem").write_bytes(self.cert)
        key = folder / f"{name}-key.pem"
        key.touch(mode=0o600)
        key.write_bytes(self.key)


class Authority:
    """A CA. Its certificates are valid for servers, peers and clients (rule 19)."""

    def __init__(self, name: str = "test CA", *, days: int = 30) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _x509_name(name)
        self._cert = (
            _builder(self._name, self._name, self._key.public_key(), days=days)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_CA_KEY_USAGE, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._cert.public_bytes(serialization.Encoding.PEM)
        self.key_pem = _pem(self._key)

    def issue(
        self, common_name: str, addresses: Sequence[str] = (), names: Sequence[str] = (), *, days: float = 7
    ) -> Pair:
        """Return a certificate for these IP addresses and DNS names. With negative `days` it has expired.

        The common name can be empty.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_x509_name(common_name), self._name, key.public_key(), days).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        # With these extensions a certificate may have the name of its CA, as in the guide. Without them, OpenSSL
        # would regard it as self-signed.
        own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(own, critical=False).add_extension(issuer, critical=False)
        sans = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if alternatives := [*sans, *(x509.DNSName(name) for name in names)]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        cert = builder.sign(self._key, hashes.SHA256())
        return Pair(cert.public_bytes(serialization.Encoding.PEM), _pem(key))


def _x509_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float
) -> x509.CertificateBuilder:
    ends = datetime.now(UTC) + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(datetime.now(UTC), ends) - timedelta(hours=1))
        .not_valid_after(ends)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
