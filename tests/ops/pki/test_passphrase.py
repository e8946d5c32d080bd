"""An encrypted CA key, and the sources of its passphrase."""

from pathlib import Path

import pytest

from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from tests.ops.pki.managed_pki import NOW, ROLES, THREE, due_reasons, issue_all, spec_of
from tests.support.openssl import openssl

PASSPHRASE = "correct horse battery"
VARIABLE = "ETCDUP_CA_PASSPHRASE"


def issue_encrypted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, PASSPHRASE)
    issue_all(folder)
    monkeypatch.delenv(VARIABLE)
    assert (folder / "pki/ca-key.pem").read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_an_encrypted_ca_key_needs_its_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issue_encrypted(tmp_path, monkeypatch)
    assert due_reasons(THREE, open_pki(THREE, tmp_path)) == {}  # Observing needs no passphrase.
    with pytest.raises(PkiError, match="is encrypted, and no passphrase is set") as missing:
        open_pki(THREE, tmp_path).issue(["admin"], NOW)
    assert VARIABLE in missing.value.hint
    with pytest.raises(PkiError, match="cannot be decrypted with this passphrase") as wrong:
        open_pki(THREE, tmp_path, lambda: "wrong passphrase").issue(["admin"], NOW)
    assert "wrong passphrase" not in str(wrong.value) + wrong.value.hint
    with pytest.raises(PkiError, match="cannot be decrypted with this passphrase"):
        open_pki(THREE, tmp_path, lambda: "").issue(["admin"], NOW)
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
    ("command", "why"),
    [
        ("false", "tls.passphrase_command exited with status 1"),
        ("/no/such/program", "cannot run tls.passphrase_command: No such file or directory"),
        ("unclosed '", "cannot run tls.passphrase_command: ValueError"),
        ("", "cannot run tls.passphrase_command"),
        ("true", "the passphrase of the CA key is empty: the output of tls.passphrase_command"),
    ],
)
def test_a_command_that_prints_no_passphrase(tmp_path: Path, command: str, why: str) -> None:
    with pytest.raises(PkiError) as caught:
        issue_all(tmp_path, spec_of("10.0.0.1", passphrase_command=command))
    assert str(caught.value).startswith(why)
    assert not (tmp_path / "pki/ca-key.pem").exists()


def test_an_empty_variable_is_no_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    with pytest.raises(PkiError, match=r"passphrase of the CA key is empty: \$ETCDUP_CA_PASSPHRASE"):
        issue_all(tmp_path)
