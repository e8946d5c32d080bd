"""Reading certificates: each file is either read completely or reported as not usable."""

import base64
import random
from pathlib import Path

import pytest

from etcdup.ops.pki.x509 import Pem, UnusableFile, chain_of, is_signed_by, see_cert
from tests.support.openssl import make_ca, make_cert, make_key

BEGIN, END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("x509")
    ca = make_ca(folder / "ca")
    make_cert(ca, folder / "leaf.pem", make_key(folder / "key.pem"), addresses=("10.0.0.1", "fe80::1"))
    return folder


def test_a_change_of_any_byte_of_a_certificate_is_detected(files: Path, tmp_path: Path) -> None:
    ca = Pem.read(files / "ca/ca.pem")
    pem = (files / "leaf.pem").read_text()
    der = base64.b64decode(pem.removeprefix(BEGIN).partition(END)[0])
    generator = random.Random(7)
    outcomes = set()
    for place in range(len(der)):
        damaged = bytearray(der)
        damaged[place] ^= generator.randrange(1, 256)
        content = f"{BEGIN}\n{base64.b64encode(damaged).decode()}\n{END}\n"
        try:
            read = Pem.parse(tmp_path / "damaged.pem", content.encode())
        except UnusableFile as unusable:
            outcomes.add(unusable.reason)
        else:
            seen = see_cert(read, read.certs[0], ca.certs, has_key=True)
            assert not seen.issuer_key, place  # The content is changed, so the signature is not valid.
    assert outcomes == {"contains a damaged certificate"}


def test_addresses_have_their_shortest_form(files: Path) -> None:
    pem = Pem.read(files / "leaf.pem")
    assert see_cert(pem, pem.certs[0], (), has_key=True).addresses == ("10.0.0.1", "fe80::1")


def test_a_cycle_of_issuers_does_not_loop_forever(files: Path) -> None:
    """Two intermediate certificates signed each other, and there is no root."""
    (leaf,) = Pem.read(files / "leaf.pem").certs
    (ca,) = Pem.read(files / "ca/ca.pem").certs
    assert is_signed_by(ca, ca)
    assert chain_of(leaf, (ca, leaf, ca), ()) == ()
    assert chain_of(leaf, (), (ca,)) == (ca,)
