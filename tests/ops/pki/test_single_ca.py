"""A cluster has one CA: no code path creates a second one."""

import fcntl
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from tests.ops.pki.managed_pki import NOW, ROLES, THREE, contents, due_reasons, issue_all, spec_of
from tests.support.openssl import openssl
from tests.support.texts import Texts


def test_no_second_ca_if_the_ca_key_is_missing(texts: Texts, tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    (tmp_path / "pki/ca-key.pem").unlink()
    again = open_pki(THREE, tmp_path)
    assert due_reasons(THREE, again) == {}  # The existing certificates are still usable.
    before = contents(tmp_path)
    with pytest.raises(PkiError) as caught:
        again.issue(ROLES, NOW)
    texts(caught.value)
    assert contents(tmp_path) == before
    assert pki.observe().ca == again.observe().ca


def test_no_second_ca_if_certificates_of_a_first_ca_exist(texts: Texts, tmp_path: Path) -> None:
    issue_all(tmp_path)
    (tmp_path / "pki/ca-key.pem").unlink()
    (tmp_path / "pki/ca.pem").unlink()
    with pytest.raises(PkiError) as caught:
        open_pki(THREE, tmp_path).issue(ROLES, NOW)
    texts(caught.value)


def test_a_lost_ca_certificate_is_made_again_for_the_same_key(tmp_path: Path) -> None:
    before = issue_all(tmp_path).observe()
    old = (tmp_path / "pki/ca.pem").rename(tmp_path / "old-ca.pem")
    pki = open_pki(THREE, tmp_path)
    pki.issue(["admin"], NOW)
    after = pki.observe()
    assert before.ca is not None
    assert after.ca is not None
    assert before.ca.key == after.ca.key
    assert due_reasons(THREE, pki) == {}
    # Members that trust the old CA certificate accept what the new one signs.
    openssl("verify", "-x509_strict", "-CAfile", old, tmp_path / "pki/clients/admin.pem")


def test_a_ca_key_of_another_ca_is_refused(texts: Texts, tmp_path: Path) -> None:
    issue_all(tmp_path / "a")
    issue_all(tmp_path / "b")
    key = tmp_path / "a/pki/ca-key.pem"
    key.write_bytes((tmp_path / "b/pki/ca-key.pem").read_bytes())
    with pytest.raises(PkiError) as caught:
        open_pki(THREE, tmp_path / "a").issue(["admin"], NOW)
    texts(caught.value)


def test_another_ca_makes_all_due(tmp_path: Path) -> None:
    issue_all(tmp_path / "a")
    issue_all(tmp_path / "b")
    for name in ("ca.pem", "ca-key.pem"):
        (tmp_path / "a/pki" / name).write_bytes((tmp_path / "b/pki" / name).read_bytes())
    whys = due_reasons(THREE, open_pki(THREE, tmp_path / "a"))
    assert whys == dict.fromkeys(ROLES, "it was signed by another CA")


def test_an_expired_ca_signs_nothing(texts: Texts, tmp_path: Path) -> None:
    pki = issue_all(tmp_path)
    late = NOW + timedelta(days=3651)
    with pytest.raises(PkiError) as caught:
        pki.issue(["admin"], late)
    texts(caught.value)
    assert [fault.is_warning for fault in pki.check(late)] == [False]
    assert [fault.is_warning for fault in pki.check(NOW + timedelta(days=3630))] == [True]


def test_two_at_once_make_one_ca(tmp_path: Path) -> None:
    """Both start while a third process holds the lock. Then both use the CA of the one that gets the lock first."""
    (tmp_path / "pki").mkdir()
    holder = os.open(tmp_path / "pki", os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    script = (
        "import sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from etcdup.core.spec.model import Spec; from etcdup.ops.pki.open import open_pki\n"
        "spec = Spec.model_validate_json(sys.argv[2]); print('begins', flush=True)\n"
        "open_pki(spec, Path(sys.argv[1])).issue([sys.argv[3]], datetime.now(UTC))\n"
    )
    spec = '{"name": "prod", "version": "3.6.14", "hosts": [{"name": "infra1", "address": "10.0.0.1"}]}'
    argv = [sys.executable, "-c", script, str(tmp_path), spec]
    running = [subprocess.Popen([*argv, role], stdout=subprocess.PIPE) for role in ("admin", "peer/infra1")]
    try:
        for each in running:
            assert each.stdout is not None
            assert each.stdout.readline() == b"begins\n"
        os.close(holder)
        assert [each.wait(timeout=60) for each in running] == [0, 0]
    finally:
        for each in running:
            each.kill()
            each.communicate()
    one = spec_of("10.0.0.1")
    assert set(due_reasons(one, open_pki(one, tmp_path))) == {"server/infra1", "health/infra1"}


def test_a_folder_that_cannot_be_created_is_reported(texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("a file")
    with pytest.raises(PkiError) as caught:
        open_pki(THREE, tmp_path).issue(ROLES, NOW)
    texts(caught.value)
