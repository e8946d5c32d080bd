"""An encrypted CA key, and the sources of its passphrase."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from etcdup.ops.pki.signing import key_pem
from etcdup.ops.pki.x509 import is_encrypted
from tests.ops.pki.managed_pki import NOW, ROLES, THREE, due_reasons, issue_all, spec_of
from tests.support.openssl import openssl
from tests.support.texts import Texts

PASSPHRASE = "correct horse battery"
VARIABLE = "ETCDUP_CA_PASSPHRASE"


def issue_encrypted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    issue_all(folder)
    monkeypatch.delenv(VARIABLE)
    assert (folder / "pki/ca-key.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_an_encrypted_ca_key_needs_its_passphrase(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_encrypted(tmp_path, monkeypatch)
    assert due_reasons(THREE, open_pki(THREE, tmp_path)) == {}  # Observing needs no passphrase.
    with pytest.raises(PkiError) as missing:
        open_pki(THREE, tmp_path).issue(["admin"], NOW)
    texts(missing.value)
    with pytest.raises(PkiError) as wrong:
        open_pki(THREE, tmp_path, lambda: "wrong passphrase").issue(["admin"], NOW)
    texts(wrong.value)
    assert "wrong passphrase" not in str(wrong.value) + wrong.value.hint
    with pytest.raises(PkiError) as caught:
        open_pki(THREE, tmp_path, lambda: "").issue(["admin"], NOW)
    texts(caught.value)
    before = open_pki(THREE, tmp_path).observe()
    open_pki(THREE, tmp_path, lambda: PASSPHRASE).issue(["admin"], NOW)
    assert open_pki(THREE, tmp_path).observe().files["admin"] != before.files["admin"]


def test_the_operator_is_asked_once_and_only_for_an_encrypted_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask() -> str:
        asked.append("asked")
        return PASSPHRASE

    plain = open_pki(THREE, tmp_path / "plain", ask)
    plain.issue(ROLES, NOW)
    assert asked == []
    issue_encrypted(tmp_path / "encrypted", monkeypatch)
    pki = open_pki(THREE, tmp_path / "encrypted", ask)
    pki.issue(["admin"], NOW)
    pki.issue(["admin"], NOW)
    assert asked == ["asked"]


def test_a_guess_of_the_passphrase_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with 16 MiB of memory. The library alone would use 2048 rounds of PBKDF2."""
    issue_encrypted(tmp_path, monkeypatch)
    shown = openssl("asn1parse", "-in", tmp_path / "pki/ca-key.pem")
    numbers = [line.rpartition(":")[2] for line in shown.splitlines() if "INTEGER" in line]
    assert (":scrypt" in shown, ":PBKDF2" in shown, numbers) == (True, False, ["4000", "08", "05"])


def test_a_key_that_an_earlier_etcdup_encrypted_is_still_used(tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    path = tmp_path / "pki/ca-key.pem"
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        )
    )
    before = pki.observe().files["admin"]
    again = open_pki(THREE, tmp_path, lambda: PASSPHRASE)
    again.issue(["admin"], NOW)
    assert again.observe().files["admin"] != before


@pytest.mark.parametrize("passphrase", ["x", "pässwörd \u2028", "long " * 50])
def test_each_kind_of_key_comes_back(passphrase: str) -> None:
    """Keys of different lengths have other lengths in the encoding."""
    large = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    for private in (large, ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
        pem = key_pem(private, passphrase)
        loaded = serialization.load_pem_private_key(pem, passphrase.encode())
        assert key_pem(loaded) == key_pem(private)  # type: ignore[arg-type]


def test_the_first_ca_key_is_encrypted_with_what_the_operator_types(tmp_path: Path) -> None:
    pki = open_pki(THREE, tmp_path, lambda: PASSPHRASE)
    assert pki.makes_plain_key()
    pki.encrypt_new_key(PASSPHRASE)
    pki.issue(ROLES, NOW)
    assert is_encrypted((tmp_path / "pki/ca-key.pem").read_bytes())
    assert not pki.makes_plain_key()
    open_pki(THREE, tmp_path, lambda: PASSPHRASE).issue(["admin"], NOW)


def test_a_configured_passphrase_is_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    assert not open_pki(THREE, tmp_path).makes_plain_key()


def test_openssl_opens_the_encrypted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_encrypted(tmp_path, monkeypatch)
    openssl("pkey", "-in", tmp_path / "pki/ca-key.pem", "-passin", f"pass:{PASSPHRASE}", "-noout")


def test_a_command_gives_the_passphrase(tmp_path: Path) -> None:
    """It runs in the folder of cluster.yaml, without a shell, and its first line is the passphrase."""
    script = tmp_path / "print passphrase"
    script.write_text('#!/bin/sh\necho "$1"\necho second line\necho ran >> ran\n')
    script.chmod(0o755)
    spec = spec_of("10.0.0.1", passphrase_command="'./print passphrase' '$(touch injected); `id`'")
    issue_all(tmp_path, spec)
    open_pki(spec, tmp_path).issue(["admin"], NOW)
    assert (tmp_path / "ran").read_text() == "ran\n" * 2  # Once for each Pki.
    assert not (tmp_path / "injected").exists()
    open_pki(spec_of("10.0.0.1"), tmp_path, lambda: "$(touch injected); `id`").issue(["admin"], NOW)


@pytest.mark.parametrize(
    "command",
    [
        "false",
        "/no/such/program",
        "unclosed '",
        "",
        "true",
    ],
)
def test_a_command_that_prints_no_passphrase(texts: Texts, tmp_path: Path, command: str) -> None:
    with pytest.raises(PkiError) as caught:
        issue_all(tmp_path, spec_of("10.0.0.1", passphrase_command=command))
    texts(caught.value)
    assert not (tmp_path / "pki/ca-key.pem").exists()


def test_an_empty_variable_is_no_passphrase(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(PkiError) as caught:
        issue_all(tmp_path)
    texts(caught.value)
