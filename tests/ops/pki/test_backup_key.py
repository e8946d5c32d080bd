"""The backup key: who makes it, and who never does."""

import stat
from pathlib import Path

import pytest

from etcdup.core.spec.model import Spec
from etcdup.errors import PkiError
from etcdup.ops.pki.backup_key import BACKUP_KEY, pki_directory, read_backup_key, require_backup_key
from tests.ops.pki.managed_pki import NOW, THREE, issue_all
from tests.support.texts import Texts

PROVIDED = Spec.model_validate(
    {
        "name": "prod",
        "version": "3.6.14",
        "hosts": [{"name": "infra1", "address": "10.0.0.1"}],
        "tls": {"mode": "provided", "ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"},
    }
)


def test_the_first_certificates_come_with_a_key_that_stays(tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    path = tmp_path / "pki" / BACKUP_KEY
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pki.issue(["admin"], NOW)
    for stage in ("trust", "sign", "drop"):
        pki.rotate_ca(stage, NOW)
    assert path.read_bytes() == before
    path.chmod(0o644)
    assert [Path(fault.file).name for fault in pki.exposed_keys()] == [BACKUP_KEY]


def test_the_whole_directory_of_an_earlier_etcdup_gets_a_key_once(tmp_path: Path) -> None:
    issue_all(tmp_path)
    root = pki_directory(THREE, tmp_path)
    (root / BACKUP_KEY).unlink()
    assert read_backup_key(root) is None
    made: list[Path] = []
    first = require_backup_key(THREE, root, made.append)
    second = require_backup_key(THREE, root, made.append)
    assert (made, first.fingerprint) == ([root / BACKUP_KEY], second.fingerprint)


def test_a_part_of_the_directory_makes_no_key(texts: Texts, tmp_path: Path) -> None:
    issue_all(tmp_path)
    root = pki_directory(THREE, tmp_path)
    for name in (BACKUP_KEY, "ca-key.pem"):
        (root / name).unlink()
    with pytest.raises(PkiError) as caught:
        require_backup_key(THREE, root, print)
    texts(caught.value)
    assert not (root / BACKUP_KEY).exists()


def test_with_provided_certificates_the_directory_has_only_the_key(tmp_path: Path) -> None:
    root = pki_directory(PROVIDED, tmp_path)
    key = require_backup_key(PROVIDED, root, lambda _: None)
    assert [path.name for path in root.iterdir()] == [BACKUP_KEY]
    assert key.has_signed("manifest", b"text", key.sign("manifest", b"text"))
    assert not key.has_signed("proof", b"text", key.sign("manifest", b"text"))


def test_another_kind_of_key_is_refused_without_its_content(tmp_path: Path) -> None:
    issue_all(tmp_path)
    root = pki_directory(THREE, tmp_path)
    for content in ((root / "ca-key.pem").read_bytes(), b"damaged", b""):
        (root / BACKUP_KEY).write_bytes(content)
        with pytest.raises(PkiError):
            read_backup_key(root)
