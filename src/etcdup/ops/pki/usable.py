"""Decide whether etcd (Go) and etcdup's own client (gRPC with BoringSSL) can use a certificate.

Each rule was tried with etcd 3.4 to 3.7, and is tried again in tests/local/test_odd_certs.py. etcd starts with most of
these certificates, and then no client or no peer accepts them.
"""

from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import PublicKeyAlgorithmOID

from etcdup.core.certs.required import Fault
from etcdup.ops.pki.x509 import spki

# Go parses keys of these curves, and the TLS of Go uses all of them except P-224.
_GO_CURVES = {"secp224r1": "P-224", "secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
_GO_TLS = ("P-256", "P-384", "P-521", "Ed25519")
_BORINGSSL_TLS = ("P-256", "P-384")
_WEAK_HASHES = ("md5", "sha1")
_KEY_HINT = "issue it with an RSA key, or with an EC key on the curve P-256 or P-384"


def chain_faults(path: Path, cert: x509.Certificate) -> Iterator[Fault]:
    """Yield why etcd cannot use this certificate: of a member, of a client, or of a CA."""
    kind = _kind_of_key(cert)
    if cert.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        yield Fault(str(path), "has an RSA-PSS key, which etcd cannot use", _KEY_HINT)
    elif kind and kind not in (*_GO_CURVES.values(), "Ed25519"):
        yield Fault(str(path), f"has a key on the curve {kind}, which etcd cannot use", _KEY_HINT)
    elif kind and spki(cert.public_key()) not in cert.tbs_certificate_bytes:
        message = "has an EC key with explicit parameters or a compressed point, which etcd cannot use"
        yield Fault(str(path), message, _KEY_HINT)
    for extension in cert.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            message = (
                f"has the critical extension {extension.oid.dotted_string}, so etcd and its clients reject it"
            )
            yield Fault(str(path), message, "issue it without this extension")


def signature_faults(path: Path, cert: x509.Certificate) -> Iterator[Fault]:
    """Yield a fault if Go does not verify the signature. That of a root CA is not verified."""
    algorithm = cert.signature_hash_algorithm
    if algorithm is not None and algorithm.name in _WEAK_HASHES:
        message = f"is signed with {algorithm.name.upper()}, so etcd and its clients reject it"
        yield Fault(str(path), message, "issue it with a signature with SHA-256")


def handshake_faults(path: Path, cert: x509.Certificate, *, by_etcdup: bool) -> Iterator[Fault]:
    """Yield why a TLS handshake with this certificate fails. `by_etcdup`: etcdup's client takes part in it."""
    kind, usable = _kind_of_key(cert), _BORINGSSL_TLS if by_etcdup else _GO_TLS
    if kind and kind not in usable and (kind in _GO_TLS or kind in _GO_CURVES.values()):
        who = "the client of etcdup" if kind in _GO_TLS else "the TLS of etcd"
        article = "an" if kind == "Ed25519" else "a"
        yield Fault(str(path), f"has {article} {kind} key, which {who} does not support", _KEY_HINT)
    if by_etcdup and not _signs(cert):
        message = "has a key usage without digitalSignature, which the client of etcdup needs"
        yield Fault(
            str(path), message, "issue it with the key usage digitalSignature, or without a key usage"
        )


def _kind_of_key(cert: x509.Certificate) -> str:
    """Return the curve of an EC key, `Ed25519`, or nothing for an RSA key."""
    key = cert.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        return _GO_CURVES.get(key.curve.name, key.curve.name)
    return "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else ""


def _signs(cert: x509.Certificate) -> bool:
    try:
        return cert.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return True
