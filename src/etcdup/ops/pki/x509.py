"""X.509 certificates in PEM files: read and check them. signing.py makes them.

No exception that is raised here contains, or is chained to, content of a key file.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from etcdup.core.certs.inventory import CertFacts
from etcdup.core.certs.required import ANY_USAGE, CLIENT_AUTH, SERVER_AUTH
from etcdup.core.observed.pki import CertSeen
from etcdup.core.spec.visible import one_line
from etcdup.errors import PkiError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
RSA_LEAST_BITS = 2048
_RSA_EXPONENT = 65537
# The curves of the TLS of Go.
_CURVES = ("secp256r1", "secp384r1", "secp521r1")

# Go reads a block only if it begins at the start of a line (https://pkg.go.dev/encoding/pem#Decode).
_CERTIFICATE = re.compile(
    rb"^-----BEGIN CERTIFICATE-----.+?^-----END CERTIFICATE-----", re.DOTALL | re.MULTILINE
)
_KEY = re.compile(
    rb"^-----BEGIN (?:EC |RSA |ENCRYPTED |DSA )?PRIVATE KEY-----.+?^-----END", re.DOTALL | re.MULTILINE
)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
DAMAGED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
USAGES = {
    ExtendedKeyUsageOID.SERVER_AUTH: SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH: CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: ANY_USAGE,
}


class UnusableFile(PkiError):
    """A file without a usable certificate or key. `reason` follows the path in a sentence."""

    def __init__(self, path: Path, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path} {reason}", hint=hint)
        self.path = path
        self.reason = reason


def read_file(path: Path) -> bytes:
    """Return the content of the file. Raises UnusableFile."""
    content = read_if_exists(path)
    if content is None:
        raise UnusableFile(path, "does not exist")
    return content


def read_if_exists(path: Path) -> bytes | None:
    """Return the content of the file, or None if it does not exist. Raises UnusableFile if it is not readable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except IsADirectoryError:
        raise UnusableFile(path, "is a directory, not a file") from None
    except OSError as error:
        raise UnusableFile(path, f"is not readable: {error.strerror}") from None


def parse_certs(path: Path, pem: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates in a PEM file, at least one, in the order of the file. Raises UnusableFile."""
    _refuse_unread_blocks(path, pem)
    has_key = _KEY.search(pem) is not None
    blocks = _CERTIFICATE.findall(pem)
    if not blocks and has_key:
        raise UnusableFile(
            path,
            "contains a private key and no certificate",
            hint="check whether the paths of certificate and key are swapped",
        )
    if not blocks:
        form = "" if _BEGIN.search(pem) else "-inform der "
        hint = f"convert it to PEM with `openssl x509 {form}-in {path} -out NEW`"
        raise UnusableFile(path, "contains no certificate in PEM format", hint=hint)
    if has_key:
        hint = "keep the key in a separate file: etcdup copies certificates to files that all users can read"
        raise UnusableFile(path, "contains a private key in addition to the certificate", hint=hint)
    try:
        return tuple(map(_load_whole, blocks))
    except DAMAGED:
        raise UnusableFile(path, "contains a damaged certificate") from None


def _refuse_unread_blocks(path: Path, pem: bytes) -> None:
    """Raise UnusableFile if etcd does not read a block of the file, because other characters are before it."""
    if pem.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = f"convert it with `iconv -f UTF-16 -t ASCII {path} -o NEW`"
        raise UnusableFile(path, "is text in UTF-16, which etcd cannot read", hint=hint)
    unread = [
        match for match in _BEGIN.finditer(pem) if match.start() and pem[match.start() - 1] != ord("\n")
    ]
    if unread and pem.startswith(b"\xef\xbb\xbf"):
        hint = f"remove it with `sed -i '1s/^\\xEF\\xBB\\xBF//' {path}`"
        raise UnusableFile(path, "begins with a byte-order mark, which etcd cannot read", hint=hint)
    if unread:
        line = pem.count(b"\n", 0, unread[0].start()) + 1
        hint = (
            f"remove the characters before `-----BEGIN` in line {line}, and indentation in the lines after it"
        )
        what = unread[0][1].decode()
        raise UnusableFile(path, f"has characters before `-----BEGIN {what}` in line {line}", hint=hint)


@lru_cache(maxsize=256)  # Each observation of the PKI reads the same files again.
def _load_whole(block: bytes) -> x509.Certificate:
    """Return the certificate after reading all its fields: the library parses a field only when it is used."""
    cert = x509.load_pem_x509_certificate(block)
    spki(cert.public_key())
    for field in ("extensions", "subject", "issuer", "not_valid_before_utc", "not_valid_after_utc"):
        getattr(cert, field)
    return cert


def parse_key(path: Path, pem: bytes, passphrase: str | None = None) -> PrivateKey:
    """Return the private key in a PEM file: EC, RSA or Ed25519, in PKCS#1, SEC1 or PKCS#8. Raises UnusableFile."""
    _refuse_unread_blocks(path, pem)
    if _KEY.search(pem) is None:
        if _CERTIFICATE.search(pem):
            hint = "check whether the paths of certificate and key are swapped"
            raise UnusableFile(path, "contains a certificate and no private key", hint=hint)
        raise UnusableFile(path, "contains no private key in PEM format")
    if is_encrypted(pem) and passphrase is None:
        hint = "decrypt it with `openssl pkey -in KEY -out PLAIN`: etcd cannot read encrypted keys"
        raise UnusableFile(path, "is encrypted", hint=hint)
    key = _decrypt(path, pem, passphrase if is_encrypted(pem) else None)
    if not isinstance(key, PrivateKey):
        raise UnusableFile(path, "contains a key that is neither ECDSA nor RSA nor Ed25519")
    return key


def parse_csr(path: Path, pem: bytes) -> x509.CertificateSigningRequest:
    """Return a certificate signing request that its own key signed, with a key that etcd supports.

    Raises UnusableFile.
    """
    try:
        request = x509.load_pem_x509_csr(pem)
        key, signed = request.public_key(), request.is_signature_valid
    except DAMAGED:
        hint = "make one with `openssl req -new -key KEY -subj /CN=NAME`"
        raise UnusableFile(path, "contains no certificate signing request in PEM format", hint=hint) from None
    if not signed:
        raise UnusableFile(path, "is not signed by the key that it contains")
    if not isinstance(key, PublicKey):
        raise UnusableFile(path, "contains a key that is neither ECDSA nor RSA nor Ed25519")
    if weakness := _weakness(key):
        hint = "make a key with `openssl ecparam -name prime256v1 -genkey -noout`, and a request for it"
        raise UnusableFile(path, weakness, hint=hint)
    return request


def _weakness(key: PublicKey) -> str:
    """Return why no certificate is made for this key, or an empty text."""
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name not in _CURVES:
        return f"contains a key on the curve {key.curve.name}: P-256, P-384 or P-521 is required"
    if not isinstance(key, rsa.RSAPublicKey):
        return ""
    if key.key_size < RSA_LEAST_BITS:
        return f"contains an RSA key of {key.key_size} bits: at least {RSA_LEAST_BITS} bits are required"
    exponent = key.public_numbers().e
    return (
        ""
        if exponent == _RSA_EXPONENT
        else f"contains an RSA key with the exponent {exponent:.9g}, not 65537"
    )


def is_encrypted(pem: bytes) -> bool:
    """Whether a key file needs a passphrase: encrypted PKCS#8, or the older format of OpenSSL."""
    return b"BEGIN ENCRYPTED PRIVATE KEY" in pem or b"Proc-Type: 4,ENCRYPTED" in pem


def _decrypt(path: Path, pem: bytes, passphrase: str | None) -> object:
    password = passphrase.encode() if passphrase is not None else None
    try:
        return serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if passphrase is not None:
            hint = "check $ETCDUP_CA_PASSPHRASE, `tls.passphrase_command`, or what you typed"
            raise UnusableFile(path, "cannot be decrypted with this passphrase", hint=hint) from None
        raise UnusableFile(path, "contains a damaged private key") from None


def is_key_of(key: PrivateKey, cert: x509.Certificate) -> bool:
    """Whether this is the private key of the certificate."""
    return spki(key.public_key()) == spki(cert.public_key())


def read_pair(cert_path: Path, key_path: Path) -> tuple[bytes, bytes]:
    """Return certificate and key file. Raises UnusableFile if they do not match.

    With such a pair every new handshake fails, while health checks still succeed (rule 16): it is never installed.
    """
    pem, key = Pem.read(cert_path), read_file(key_path)
    if not is_key_of(parse_key(key_path, key), pem.certs[0]):
        raise UnusableFile(key_path, f"is not the key of {cert_path}")
    return pem.content, key


def spki(key: object) -> bytes:
    """Return the public key in DER, with named parameters and an uncompressed point."""
    der, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(der, form)  # type: ignore[attr-defined, no-any-return]


@lru_cache(maxsize=256)  # To verify a signature is slow.
def is_signed_by(cert: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer, by its name and its key, signed the certificate."""
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def chain_of(
    leaf: x509.Certificate, intermediates: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the chain from the issuer of the leaf to one of the roots. Empty if there is no such chain."""
    chain: list[x509.Certificate] = []
    last = leaf
    while True:
        for root in roots:
            if is_signed_by(last, root):
                return (*chain, root)
        step = next((c for c in intermediates if c not in (leaf, *chain) and is_signed_by(last, c)), None)
        if step is None:
            return ()
        chain.append(step)
        last = step


@dataclass(frozen=True)
class Pem:
    """A certificate file: its content, and the certificates in it, in the order of the file."""

    path: Path
    content: bytes
    certs: tuple[x509.Certificate, ...]

    @classmethod
    def read(cls, path: Path) -> "Pem":
        return cls.parse(path, read_file(path))

    @classmethod
    def parse(cls, path: Path, content: bytes) -> "Pem":
        return cls(path, content, parse_certs(path, content))

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()


def see_cert(
    pem: Pem, cert: x509.Certificate, issuers: Sequence[x509.Certificate], *, has_key: bool
) -> CertSeen:
    """Return the public facts of a certificate in this file. `certs.required.why_due` explains empty keys."""
    dns_names, addresses = _alternative_names(cert)
    issuer = next((each for each in issuers if is_signed_by(cert, each)), None)
    return CertSeen(
        path=str(pem.path),
        sha256=pem.sha256,
        fingerprint=cert.fingerprint(hashes.SHA256()).hex(),
        common_name=_common_name(cert),
        dns_names=dns_names,
        addresses=addresses,
        usages=_extended_usages(cert),
        not_before=cert.not_valid_before_utc,
        not_after=cert.not_valid_after_utc,
        issuer_key=key_id(issuer) if issuer else "",
        key=key_id(cert) if has_key else "",
        is_ca=_is_ca(cert),
        serial=f"{cert.serial_number:x}",
    )


def cert_facts(
    place: str, content: bytes, cert: x509.Certificate, issuers: Sequence[x509.Certificate]
) -> CertFacts:
    """Return the facts that `certs list` shows of a certificate that was read at `place`."""
    return CertFacts(
        cert=see_cert(Pem(Path(place), content, (cert,)), cert, issuers, has_key=True),
        subject=one_line(cert.subject.rfc4514_string()),
        issuer=one_line(cert.issuer.rfc4514_string()),
        serial=f"{cert.serial_number:x}",
    )


def key_id(cert: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """Return the sha256 of the public key, in hex."""
    return sha256(spki(cert.public_key())).hexdigest()


def _common_name(cert: x509.Certificate) -> str:
    names = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _alternative_names(cert: x509.Certificate) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return tuple(names.get_values_for_type(x509.DNSName)), tuple(str(address) for address in addresses)


def _extended_usages(cert: x509.Certificate) -> tuple[str, ...]:
    try:
        usages = cert.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(USAGES.get(usage, usage.dotted_string) for usage in usages)


def _is_ca(cert: x509.Certificate) -> bool:
    """Whether Go accepts it as a CA: by its basic constraints, and by its key usage if it has one."""
    try:
        if not cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return cert.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid
