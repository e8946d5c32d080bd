"""Make keys and certificates: ECDSA on P-256, which every version of etcd and Kubernetes supports."""

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from etcdup.core.certs.required import DesiredCert
from etcdup.core.host.clocks import BACKDATED
from etcdup.core.spec.names import common_name
from etcdup.ops.pki.key_encryption import encrypted_key_pem
from etcdup.ops.pki.x509 import USAGES, PrivateKey

# The objects that contain the public key of a certificate.
Holder = PrivateKey | x509.CertificateSigningRequest
_OIDS = {name: oid for oid, name in USAGES.items()}


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def cert_pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def key_pem(key: PrivateKey, passphrase: str | None = None) -> bytes:
    """Return the key as PKCS#8 in PEM, encrypted if there is a passphrase."""
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    if passphrase is None:
        return key.private_bytes(serialization.Encoding.PEM, form, plain)
    return encrypted_key_pem(key.private_bytes(serialization.Encoding.DER, form, plain), passphrase)


@dataclass(frozen=True, repr=False)
class SigningCa:
    """A CA certificate with its private key."""

    cert: x509.Certificate
    key: PrivateKey


def make_ca(key: PrivateKey, cluster: str, days: int, now: datetime) -> x509.Certificate:
    """Return a self-signed CA certificate for this cluster only (CIS 2.7)."""
    name = _subject(cluster, common_name(cluster, "ca"))
    builder = _builder(name, key, now).issuer_name(name).not_valid_after(now + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(is_ca=True), critical=True)
    return builder.sign(key, _digest(key))


def make_csr(wanted: DesiredCert, key: PrivateKey, cluster: str) -> bytes:
    """Return a certificate signing request in PEM, with all names and usages that the certificate must have."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(cluster, wanted.common_name))
    builder = builder.add_extension(_key_usage(is_ca=False), critical=True)
    usages = x509.ExtendedKeyUsage([_OIDS[usage] for usage in wanted.usages])
    builder = builder.add_extension(usages, critical=False)
    if names := _alternative_names(wanted):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, _digest(key)).public_bytes(serialization.Encoding.PEM)


def make_cert(
    wanted: DesiredCert, key: Holder, authority: SigningCa, cluster: str, *, days: int, now: datetime
) -> x509.Certificate:
    """Return the wanted certificate, signed. It expires no later than its CA. From a request only the key is used."""
    until = min(now + timedelta(days=days), authority.cert.not_valid_after_utc)
    builder = _builder(_subject(cluster, wanted.common_name), key, now)
    builder = builder.issuer_name(authority.cert.subject).not_valid_after(until)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(is_ca=False), critical=True)
    usages = x509.ExtendedKeyUsage([_OIDS[usage] for usage in wanted.usages])
    builder = builder.add_extension(usages, critical=False)
    builder = builder.add_extension(authority_key_identifier(authority.cert), critical=False)
    if names := _alternative_names(wanted):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, _digest(authority.key))


def authority_key_identifier(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the extension that names the key of the CA (RFC 5280, section 4.2.1.1).

    It is copied from the subject key identifier of the CA, which can be any value. OpenSSL does not find the issuer
    otherwise. It is computed only for a CA without an identifier.
    """
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(ca.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _alternative_names(wanted: DesiredCert) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in wanted.dns_names]
    return names + [x509.IPAddress(ipaddress.ip_address(address)) for address in wanted.addresses]


def _builder(subject: x509.Name, key: Holder, now: datetime) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - BACKDATED)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _subject(cluster: str, name: str) -> x509.Name:
    """Return the subject. Without a name it has no common name, and etcd takes it for no user."""
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster)
    return x509.Name([organization, *([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])])


def _digest(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _key_usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
