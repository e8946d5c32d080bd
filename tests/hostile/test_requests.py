"""A request for the certificate of a consumer gets no weak key and no key of the PKI certified."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from etcdup.errors import PkiError
from etcdup.ops.certs.consumers import issue_consumer
from etcdup.ops.pki.x509 import PrivateKey, UnusableFile, parse_csr
from tests.ops.pki.managed_pki import NOW, THREE, issue_all
from tests.support.texts import Texts

FILE = Path("consumer.csr")


def request(key: PrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


WEAK: dict[str, Callable[[], PrivateKey]] = {
    "P-224": lambda: ec.generate_private_key(ec.SECP224R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "brainpool": lambda: ec.generate_private_key(ec.BrainpoolP256R1()),
    "exponent 3": lambda: rsa.generate_private_key(3, 2048),
    "1024 bits": lambda: rsa.generate_private_key(65537, 1024),
}


@pytest.mark.parametrize("kind", WEAK)
def test_a_weak_key_is_not_certified(kind: str) -> None:
    with pytest.raises(UnusableFile):
        parse_csr(FILE, request(WEAK[kind]()))


def test_other_keys_are_certified() -> None:
    for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()):
        parse_csr(FILE, request(ec.generate_private_key(curve)))
    parse_csr(FILE, request(rsa.generate_private_key(65537, 2048)))
    parse_csr(FILE, request(ed25519.Ed25519PrivateKey.generate()))


@pytest.mark.parametrize("key", ["members/infra2/peer-key.pem", "admin-key.pem", "ca-key.pem"])
def test_a_key_of_the_pki_is_not_certified_for_a_consumer(texts: Texts, tmp_path: Path, key: str) -> None:
    pki = issue_all(tmp_path)
    (file,) = (each for each in tmp_path.rglob("*.pem") if each.as_posix().endswith(f"/{key}"))
    own = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    with pytest.raises(PkiError) as caught:
        pki.sign_consumer("patroni", request(own), NOW)
    texts(caught.value)
    assert not [path for path in tmp_path.rglob("*patroni*") if path.is_file()]


def test_a_consumer_renews_the_certificate_of_its_key(tmp_path: Path) -> None:
    pki, key = issue_all(tmp_path), ec.generate_private_key(ec.SECP256R1())
    assert pki.sign_consumer("patroni", request(key), NOW) != pki.sign_consumer("patroni", request(key), NOW)


def test_a_consumer_does_not_get_the_user_of_a_member(texts: Texts, tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    with pytest.raises(PkiError) as caught:
        issue_consumer(THREE, tmp_path, pki, "infra1", NOW, csr=None, renew=False)
    texts(caught.value)


def test_a_consumer_that_has_the_name_of_a_host_is_renewed(tmp_path: Path) -> None:
    """Earlier versions issued such certificates, for example for Patroni on the hosts of etcd."""
    pki = issue_all(tmp_path)
    before, _ = pki.issue_consumer("infra1", NOW)
    issue_consumer(THREE, tmp_path, pki, "infra1", NOW, csr=None, renew=True)
    assert pki.pair("client/infra1")[0] != before
