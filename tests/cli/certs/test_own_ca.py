"""A new CA without the key of the old one: `certs own-ca` for provided certificates, `certs rotate-ca --lost-key`.

Every phase and every kill: tests/flows/test_own_ca.py.
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.core.spec.load import load
from etcdup.errors import PkiError
from etcdup.ops.pki.open import open_pki
from tests.cli.conftest import CLUSTER, Etcdup, prepare_demo
from tests.support.cases import one_in_turn
from tests.support.etcd_binaries import why_not
from tests.support.openssl import Ca, make_ca, make_cert, make_key, openssl
from tests.support.texts import Texts

VERSIONS = ("3.4.23", "3.5.33", "3.6.14", "3.7.1")
PROVIDED = "tls: {mode: provided, ca: ca.pem, cert: etcd.pem, key: etcd-key.pem, client_auth: optional}\n"


def write_provided(folder: Path, *addresses: str) -> Ca:
    ca = make_ca(folder / "theirs")
    (folder / "ca.pem").write_bytes(ca.cert.read_bytes())
    make_cert(ca, folder / "etcd.pem", make_key(folder / "etcd-key.pem"), addresses=addresses)
    return ca


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    (tmp_path / "cluster.yaml").write_text(CLUSTER + PROVIDED)
    write_provided(tmp_path, "10.0.0.1", "10.0.0.2", "10.0.0.3")
    return tmp_path


def test_provided_certificates(
    folder: Path, capsys: pytest.CaptureFixture[str], texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDUP_CA_PASSPHRASE", "correct horse")
    assert run(["certs", "own-ca", "own/pki"]) == 0
    told = capsys.readouterr()
    texts((told.out, told.err))
    spec = load(CLUSTER + told.out, "cluster.yaml")
    assert spec.tls.client_auth == "optional"
    seen = open_pki(spec, folder).observe()
    assert (
        seen.files["server/infra2"][0]
        == open_pki(load(CLUSTER + PROVIDED, ""), folder).observe().certs["admin"].sha256
    )
    assert b"ENCRYPTED" in (folder / "own/pki/next-ca-key.pem").read_bytes()
    assert openssl(
        "verify", "-x509_strict", "-CAfile", folder / "own/pki/next-ca.pem", folder / "own/pki/next-ca.pem"
    )
    assert {path.stat().st_mode & 0o077 for path in (folder / "own/pki").rglob("*")} == {0}
    assert run(["certs", "own-ca", "own/pki"]) == 4
    texts(capsys.readouterr().err)


def test_the_json_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certs", "own-ca", "own", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "format": 1,
        "cluster": "prod",
        "directory": f"{folder}/own",
        "ca": f"{folder}/own/ca.pem",
        "tls": 'tls:\n  mode: managed\n  dir: "./own"\n  client_auth: optional\n',
    }


def test_files_that_cannot_be_used_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], texts: Texts
) -> None:
    (folder / "etcd-key.pem").unlink()
    assert run(["certs", "own-ca", "own"]) == 2
    texts(capsys.readouterr().err)
    assert not (folder / "own").exists()


def test_a_managed_ca_is_refused(folder: Path, capsys: pytest.CaptureFixture[str], texts: Texts) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER)
    assert run(["certs", "own-ca", "pki"]) == 2
    texts(capsys.readouterr().err)


def test_a_key_that_exists_is_not_lost(folder: Path, texts: Texts) -> None:
    pki = open_pki(load(CLUSTER, ""), folder)
    pki.issue(["admin"], datetime.now(UTC))
    with pytest.raises(PkiError) as caught:
        pki.accept_lost_key()
    texts(caught.value)


@pytest.mark.in_turn(1, 3)
@pytest.mark.parametrize(
    ("kind", "version"),
    one_in_turn(*((kind, version) for version in VERSIONS for kind in ("provided", "lost"))),
)
def test_a_running_cluster_gets_a_new_ca(kind: str, version: str, tmp_path: Path) -> None:
    if reason := why_not(version):
        pytest.skip(reason)
    etcdup, demo = Etcdup(tmp_path), tmp_path / "demo"
    prepare_demo(etcdup, demo, 3, version)
    path = demo / "cluster.yaml"
    text = path.read_text()

    def call(*words: str, code: int = 0) -> str:
        done = etcdup(*words, f"--file={path}")
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def serials() -> set[str]:
        return {row["serial"] for row in json.loads(call("certs", "list", "--json"))["certificates"]}

    if kind == "provided":
        addresses = [host.address for host in load(text, "").hosts]
        (demo / "requests").mkdir()
        ca = write_provided(demo / "requests", *addresses, "127.0.0.1")
        path.write_text(text + PROVIDED.replace(": ca", ": requests/ca").replace(": etcd", ": requests/etcd"))
    try:
        call("apply", "--yes")
        if kind == "provided":
            ca.key.unlink()
            path.write_text(text + call("certs", "own-ca", str(demo / "own/pki")))
        else:
            (demo / "pki/ca-key.pem").unlink()
        before = serials()
        call(*(("apply", "--yes") if kind == "provided" else ("certs", "rotate-ca", "--yes", "--lost-key")))
        call("certs", "rotate-ca", "--yes", "--consumers-have", "ca")
        call("certs", "rotate-ca", "--yes", "--consumers-have", "certs")
        assert len(before & serials()) == (kind == "provided"), "only the new CA stays"
        assert call("plan", "--exit-code") is not None
        assert call("health").splitlines()[-1] == "cluster is healthy"
    finally:
        etcdup("destroy", "--yes-destroy", "demo", f"--file={path}")
