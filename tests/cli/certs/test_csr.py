"""`etcdup certs csr`: an openssl CA that copies the requested names signs valid certificates."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.core.spec.load import load
from etcdup.ops.pki.open import open_pki
from tests.cli.conftest import CLUSTER
from tests.support.openssl import make_ca, openssl
from tests.support.texts import Texts

MEMBERS = [f"infra{n}" for n in (1, 2, 3)]
KINDS = ("server", "peer", "health")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    return tmp_path


def test_certificates_of_an_openssl_ca_are_accepted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certs", "csr"]) == 0
    told = capsys.readouterr()
    assert "PRIVATE" not in told.out + told.err
    ca = make_ca(folder / "theirs")
    (folder / "requests/ca.pem").write_bytes(ca.cert.read_bytes())
    for name in MEMBERS:
        for kind in KINDS:
            place = folder / "requests" / name
            assert (place / f"{kind}-key.pem").stat().st_mode & 0o777 == 0o600
            openssl("req", "-in", place / f"{kind}.csr", "-noout", "-verify")
            subprocess.run(
                ["openssl", "x509", "-req", "-in", place / f"{kind}.csr", "-CA", ca.cert, "-CAkey", ca.key,
                 "-CAcreateserial", "-days", "90", "-copy_extensions", "copyall", "-out", place / f"{kind}.pem"],
                check=True, timeout=30, capture_output=True,
            )  # fmt: skip
    spec = load(CLUSTER + told.out, "cluster.yaml")
    pki = open_pki(spec, folder)
    assert pki.check(datetime.now(UTC)) == ()
    certs = pki.observe().certs
    assert certs["server/infra2"].addresses == ("10.0.0.2", "127.0.0.1", "::1")
    assert certs["peer/infra3"].usages == ("serverAuth", "clientAuth")
    assert certs["health/infra1"].usages == ("clientAuth",)
    assert certs["peer/infra1"].common_name == "etcdup:prod:peer"


def test_existing_keys_are_kept(folder: Path) -> None:
    assert run(["certs", "csr", "--out", "there"]) == 0
    key = folder / "there/infra1/server-key.pem"
    first = key.read_bytes()
    key.with_name("server.csr").unlink()
    assert run(["certs", "csr", "--out", "there"]) == 0
    assert key.read_bytes() == first
    assert openssl("pkey", "-in", key, "-pubout") == openssl(
        "req", "-in", key.with_name("server.csr"), "-noout", "-pubkey"
    )


def test_a_folder_that_cannot_be_written_is_named(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "file").write_text("")
    assert run(["certs", "csr", "--out", "file/below"]) == 1
    texts(capsys.readouterr().err)
