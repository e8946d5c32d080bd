"""The revocation list of a managed PKI, and lists of operators. openssl is the independent check."""

from datetime import timedelta
from pathlib import Path

import pytest

from etcdup.core.certs.required import why_crl_due
from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.x509 import UnusableFile
from tests.ops.pki.managed_pki import NOW, ROLES, THREE, issue_all
from tests.support.openssl import openssl
from tests.support.texts import Texts


def test_the_first_list_is_empty_and_signed_by_the_ca(tmp_path: Path) -> None:
    pki = open_pki(THREE, tmp_path)
    pki.issue([*ROLES, "crl"], NOW)
    seen = pki.observe()
    crl = seen.crls["crl"]
    assert seen.crls["peer-crl"] == crl
    assert (crl.number, crl.revoked, why_crl_due(seen, NOW)) == (1, frozenset(), None)
    assert seen.ca is not None
    assert crl.issuer_key == seen.ca.key
    text = openssl(
        "crl", "-inform", "DER", "-in", tmp_path / "pki/crl.der", "-noout", "-text",
        "-CAfile", tmp_path / "pki/ca.pem", "-verify",
    )  # fmt: skip
    assert "Version 2" in text


def test_a_pki_without_a_list_needs_one(tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    assert why_crl_due(pki.observe(), NOW) == "it does not exist yet"


def test_a_list_is_signed_again_before_it_expires(texts: Texts, tmp_path: Path) -> None:
    pki = open_pki(THREE, tmp_path)
    pki.issue([*ROLES, "crl"], NOW)
    later = NOW + timedelta(days=THREE.tls.days * 0.7)
    texts(why_crl_due(pki.observe(), later))
    pki.issue(["crl"], later)
    seen = pki.observe()
    assert (seen.crls["crl"].number, why_crl_due(seen, later)) == (2, None)


def test_each_list_is_a_change_of_the_directory(tmp_path: Path) -> None:
    """So an older copy of the directory, which accepts more certificates, is recognised."""
    pki = issue_all(tmp_path)
    before = pki.observe().changes
    pki.issue(["crl"], NOW)
    assert pki.observe().changes[: len(before)] == before != pki.observe().changes


def test_a_damaged_list_is_not_replaced(texts: Texts, tmp_path: Path) -> None:
    """A new list would be empty, and members would accept revoked certificates again."""
    pki = open_pki(THREE, tmp_path)
    pki.issue([*ROLES, "crl"], NOW)
    (tmp_path / "pki/crl.der").write_bytes(b"damaged")
    for action in (pki.observe, lambda: pki.issue(["crl"], NOW)):
        with pytest.raises(UnusableFile) as caught:
            action()
        texts(caught.value)
    assert (tmp_path / "pki/crl.der").read_bytes() == b"damaged"


def test_a_new_ca_signs_the_list_again(tmp_path: Path) -> None:
    pki = open_pki(THREE, tmp_path)
    pki.issue([*ROLES, "crl"], NOW)
    for stage in ("trust", "sign"):
        pki.rotate_ca(stage, NOW)
    assert why_crl_due(pki.observe(), NOW) == "it was signed by another CA"
    pki.issue(["crl"], NOW)
    assert why_crl_due(pki.observe(), NOW) is None


def test_no_list_without_a_ca(tmp_path: Path) -> None:
    pki = open_pki(THREE, tmp_path)
    assert why_crl_due(pki.observe(), NOW) == "there is no CA yet"
    with pytest.raises(PkiError):
        pki.crl_file("crl")
