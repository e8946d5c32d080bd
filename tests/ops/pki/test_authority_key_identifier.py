"""A CA that another program made can have any subject key identifier. What etcdup signs with it names that identifier.

Go from 1.25 on writes a truncated SHA-256 of the key, for example: https://github.com/golang/go/issues/71746
"""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.signing import authority_key_identifier, cert_pem, key_pem, make_ca, new_key
from tests.ops.pki.managed_pki import NOW, ROLES, THREE
from tests.support.openssl import openssl

FOREIGN = b"an identifier of another program"


def write_ca(folder: Path, identifier: bytes | None) -> x509.Certificate:
    """Write the CA of a managed PKI. Its subject key identifier is the given one, or it has none."""
    key = new_key()
    like = make_ca(key, "prod", 3650, NOW)
    builder = x509.CertificateBuilder().subject_name(like.subject).issuer_name(like.issuer)
    builder = builder.public_key(key.public_key()).serial_number(like.serial_number)
    builder = builder.not_valid_before(like.not_valid_before_utc).not_valid_after(like.not_valid_after_utc)
    for extension in like.extensions:
        if not isinstance(extension.value, x509.SubjectKeyIdentifier):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    if identifier is not None:
        builder = builder.add_extension(x509.SubjectKeyIdentifier(identifier), critical=False)
    authority = builder.sign(key, hashes.SHA256())
    folder.mkdir(mode=0o700)
    (folder / "ca.pem").write_bytes(cert_pem(authority))
    (folder / "ca-key.pem").touch(mode=0o600)
    (folder / "ca-key.pem").write_bytes(key_pem(key))
    return authority


def issue_all(folder: Path) -> tuple[Path, ...]:
    """Issue all certificates and the revocation list with this CA, and return the paths of the certificates."""
    pki = open_pki(THREE, folder)
    pki.issue([*ROLES, "crl"], NOW)
    pki.issue_consumer("kube-apiserver", NOW)
    leaves = tuple(path for path in (folder / "pki").rglob("*.pem") if not path.stem.endswith("-key"))
    return tuple(path for path in leaves if path.stem != "ca")


def test_openssl_accepts_each_leaf_of_a_ca_with_a_foreign_identifier(tmp_path: Path) -> None:
    write_ca(tmp_path / "pki", FOREIGN)
    leaves = issue_all(tmp_path)
    assert len(leaves) == len(ROLES) + 1
    for leaf in leaves:
        openssl("verify", "-x509_strict", "-CAfile", tmp_path / "pki/ca.pem", leaf)


def test_openssl_accepts_its_revocation_list(tmp_path: Path) -> None:
    write_ca(tmp_path / "pki", FOREIGN)
    leaves = issue_all(tmp_path)
    crl = tmp_path / "crl.pem"
    openssl("crl", "-inform", "DER", "-in", tmp_path / "pki/crl.der", "-out", crl)
    checked = ("-x509_strict", "-crl_check", "-CRLfile", crl, "-CAfile", tmp_path / "pki/ca.pem")
    openssl("verify", *checked, *leaves)


@pytest.mark.parametrize("identifier", [FOREIGN, b"\x01"])
def test_the_identifier_is_copied(tmp_path: Path, identifier: bytes) -> None:
    authority = write_ca(tmp_path / "pki", identifier)
    assert authority_key_identifier(authority).key_identifier == identifier


def test_a_ca_without_an_identifier_gets_leaves_that_openssl_accepts(tmp_path: Path) -> None:
    """`-x509_strict` requires an identifier of the CA too, so that this CA fails it with any leaf."""
    write_ca(tmp_path / "pki", None)
    for leaf in issue_all(tmp_path):
        openssl("verify", "-CAfile", tmp_path / "pki/ca.pem", leaf)


def test_the_own_ca_is_as_before(tmp_path: Path) -> None:
    """An upgrade of etcdup makes no certificate due."""
    key = new_key()
    authority = make_ca(key, "prod", 3650, NOW - timedelta(days=1))
    computed = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    assert authority_key_identifier(authority).key_identifier == computed.key_identifier
