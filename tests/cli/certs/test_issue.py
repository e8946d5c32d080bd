"""`etcdup certs issue`: it contacts no host, so the tests need only a PKI."""

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from ruamel.yaml import YAML

from etcdup.cli.main import run
from etcdup.cli.verbs import certs as verbs
from etcdup.core.certs.consumer_roles import ROLES
from etcdup.core.spec.load import load
from etcdup.ops.pki.open import open_pki
from tests.cli.conftest import CLUSTER
from tests.support.texts import Texts


def leaf(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def openssl(*arguments: str) -> str:
    done = subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


def make_request(folder: Path, *kind: str) -> Path:
    openssl("req", "-new", *kind, "-nodes", "-keyout", str(folder / "own.key"), "-out", str(folder / "own.csr"),
            "-subj", "/CN=someone-else/O=system:masters", "-addext", "basicConstraints=CA:TRUE")  # fmt: skip
    return folder / "own.csr"


def test_the_verb_has_all_roles() -> None:
    """It has its own list, because `--help` imports nothing of `core`."""
    assert verbs.ROLES == ROLES


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ["kube-apiserver"],
            ["--etcd-servers=https://10.0.0.1:2379,https://10.0.0.2:2379,https://10.0.0.3:2379"],
        ),
        (["patroni"], ["etcd3:", '  hosts: ["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]']),
        (
            ["pg", "--role", "patroni"],
            ["  cacert: /etc/patroni/etcd/ca.pem", "  key: /etc/patroni/etcd/client-key.pem"],
        ),
        (["prometheus"], ["      key_file: /etc/prometheus/etcd/client-key.pem"]),
        (
            ["app"],
            ["export ETCDCTL_CERT=FOLDER/pki/clients/app.pem", "export ETCDCTL_CACERT=FOLDER/pki/ca.pem"],
        ),
    ],
)
def test_it_prints_the_consumers_configuration(
    texts: Texts, folder: Path, arguments: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["certs", "issue", *arguments]) == 0
    told = capsys.readouterr()
    for line in lines:
        assert line.replace("FOLDER", str(folder)) in told.out.splitlines()
    texts(told.err)
    assert "PRIVATE" not in told.out + told.err


def test_the_exported_files_are_enough_to_connect(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "away"
    assert run(["certs", "issue", "app", "--out", str(out)]) == 0
    assert {path.name: path.stat().st_mode & 0o777 for path in out.iterdir()} == {
        "ca.pem": 0o644, "app.pem": 0o644, "app-key.pem": 0o600,
    }  # fmt: skip
    texts(capsys.readouterr().out)
    verified = openssl(
        "verify", "-purpose", "sslclient", "-CAfile", str(out / "ca.pem"), str(out / "app.pem")
    )
    assert verified.endswith(": OK\n")
    assert openssl("pkey", "-in", str(out / "app-key.pem"), "-pubout") == openssl(
        "x509", "-in", str(out / "app.pem"), "-noout", "-pubkey"
    )


def test_a_second_issue_returns_the_same_certificate(folder: Path) -> None:
    cert = folder / "pki/clients/app.pem"
    assert run(["certs", "issue", "app"]) == 0
    first = cert.read_bytes()
    assert run(["certs", "issue", "app"]) == 0
    assert cert.read_bytes() == first
    assert run(["certs", "issue", "app", "--renew"]) == 0
    assert cert.read_bytes() != first


def archived_files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "pki/former/clients").glob("*"))


def test_a_replaced_certificate_is_archived_because_etcd_accepts_it(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cert, key = folder / "pki/clients/app.pem", folder / "pki/clients/app-key.pem"
    assert run(["certs", "issue", "app"]) == 0
    first = (cert.read_bytes(), key.read_bytes())
    assert run(["certs", "issue", "app"]) == 0
    assert archived_files(folder) == []
    texts(capsys.readouterr().err)
    assert run(["certs", "issue", "app", "--renew"]) == 0
    texts(capsys.readouterr().err)
    kept = folder / "pki/former/clients"
    assert ((kept / "app.pem").read_bytes(), (kept / "app-key.pem").read_bytes()) == first
    assert run(["certs", "issue", "app", "--renew", "--json"]) == 0
    replaced = json.loads(capsys.readouterr().out)["replaced"]
    assert Path(replaced["kept"]) == kept / "app~1.pem"
    assert archived_files(folder) == ["app-key.pem", "app.pem", "app~1-key.pem", "app~1.pem"]


def test_a_new_request_and_a_new_ca_replace_a_certificate(folder: Path) -> None:
    csr, pki = make_request(folder, "-newkey", "ed25519"), open_pki(load(CLUSTER, "cluster.yaml"), folder)
    assert run(["certs", "issue", "own", "--csr", str(csr)]) == 0
    assert run(["certs", "issue", "own", "--csr", str(csr)]) == 0
    assert archived_files(folder) == ["own.pem"], "its key is not in the PKI"
    assert run(["certs", "issue", "app"]) == 0
    for stage in ("trust", "sign"):
        pki.rotate_ca(stage, datetime.now(UTC))
    assert run(["certs", "issue", "app"]) == 0
    assert archived_files(folder) == ["app-key.pem", "app.pem", "own.pem"]


@pytest.mark.parametrize(
    "kind",
    [
        ("-newkey", "rsa:2048"),
        ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        ("-newkey", "ed25519"),
    ],
)
def test_only_the_key_of_a_request_is_used(
    texts: Texts, folder: Path, kind: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    csr = make_request(folder, *kind)
    assert run(["certs", "issue", "app", "--csr", str(csr), "--out", str(folder / "away")]) == 0
    assert sorted(path.name for path in (folder / "away").iterdir()) == ["app.pem", "ca.pem"]
    assert sorted(path.name for path in (folder / "pki/clients").glob("app*")) == ["app.pem"]
    made = leaf(folder / "away/app.pem")
    assert made.subject.rfc4514_string() == "CN=app,O=prod"
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert openssl("x509", "-in", str(folder / "away/app.pem"), "-noout", "-pubkey") == openssl(
        "pkey", "-in", str(folder / "own.key"), "-pubout"
    )
    texts(capsys.readouterr().out)


def test_a_consumer_with_its_own_key_needs_a_request_again(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csr = make_request(folder, "-newkey", "ed25519")
    assert run(["certs", "issue", "app", "--csr", str(csr)]) == 0
    assert run(["certs", "issue", "app"]) == 1
    texts(capsys.readouterr().err)
    assert run(["certs", "issue", "app", "--csr", str(csr)]) == 0
    assert run(["certs", "issue", "other"]) == 0
    assert run(["certs", "issue", "other", "--csr", str(csr)]) == 1
    texts(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["root"], 1, "etcdup's own"),
        (["etcd-health"], 1, "etcdup's own"),
        (["admin"], 1, "`admin` cannot be the name of a consumer"),
        (["etcdup:prod:peer"], 1, "for the name of a consumer"),
        (["../x"], 1, "for the name of a consumer"),
        (["app", "--csr", "nothing.csr"], 2, "nothing.csr does not exist"),
        (["app", "--csr", "cluster.yaml"], 1, "contains no certificate signing request"),
        (["app", "--role", "nonsense"], 2, "nonsense"),
    ],
)
def test_what_is_refused(
    folder: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["certs", "issue", *arguments]) == code
    assert words in capsys.readouterr().err
    names = sorted(path.name for path in (folder / "pki/clients").iterdir())
    assert names == ["admin-key.pem", "admin.pem"]


def test_a_short_rsa_key_is_refused(texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = make_request(folder, "-newkey", "rsa:1024")
    assert run(["certs", "issue", "app", "--csr", str(short)]) == 1
    texts(capsys.readouterr().err)


def test_another_clusters_ca_is_not_overwritten(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "away").mkdir()
    (folder / "away/ca.pem").write_text("another")
    assert run(["certs", "issue", "app", "--out", str(folder / "away")]) == 2
    texts(capsys.readouterr().err)
    assert (folder / "away/ca.pem").read_text() == "another"


def test_without_a_ca_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert run(["certs", "issue", "app"]) == 1
    assert not (tmp_path / "pki").exists()


def test_a_due_certificate_is_issued_again(folder: Path) -> None:
    pki = open_pki(load(CLUSTER, "cluster.yaml"), folder)
    pki.issue_consumer("app", datetime.now(UTC) - timedelta(days=300))
    first = leaf(folder / "pki/clients/app.pem")
    assert run(["certs", "issue", "app"]) == 0
    assert leaf(folder / "pki/clients/app.pem").serial_number != first.serial_number


def test_with_provided_tls_the_external_ca_issues(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cluster.yaml").write_text(
        CLUSTER + "tls: {mode: provided, ca: ca.pem, cert: c.pem, key: k.pem}\n"
    )
    assert run(["certs", "issue", "app"]) == 1
    texts(capsys.readouterr().err)


def test_the_exported_ca_file_follows_a_ca_rotation(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The CA file in the folder is a previous one of this cluster, so it is replaced."""
    out, away = folder / "away", ["certs", "issue", "app", "--out", str(folder / "away")]
    pki = open_pki(load(CLUSTER, "cluster.yaml"), folder)
    assert run(away) == 0
    first = (out / "app.pem").read_bytes()
    pki.rotate_ca("trust", datetime.now(UTC))
    assert run(away) == 0
    assert (out / "ca.pem").read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert (out / "app.pem").read_bytes() == first
    pki.rotate_ca("sign", datetime.now(UTC))
    assert run(away) == 0
    assert (out / "app.pem").read_bytes() != first
    pki.rotate_ca("drop", datetime.now(UTC))
    assert run(away) == 0
    assert openssl("verify", "-CAfile", str(out / "ca.pem"), str(out / "app.pem")).endswith(": OK\n")
    (out / "ca.pem").write_text("a stranger's")
    assert run(away) == 2
    texts(capsys.readouterr().err)


def test_a_consumer_is_forgotten(texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["certs", "issue", "app"]) == 0
    assert run(["certs", "forget", "app"]) == 0
    texts(capsys.readouterr().err)
    assert sorted(path.name for path in (folder / "pki/former/clients").iterdir()) == [
        "app-key.pem",
        "app.pem",
    ]
    assert run(["certs", "issue", "app"]) == 0, "the name can be used again"
    assert run(["certs", "forget", "app"]) == 0
    assert run(["certs", "forget", "app"]) == 1
    texts(capsys.readouterr().err)
    assert len(list((folder / "pki/former/clients").iterdir())) == 4, "nothing is overwritten"


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (["patroni"], "O=prod"),
        (["pg-east", "--role", "patroni"], "O=prod"),
        (["apisix"], "O=prod"),
        (["jsonclient", "--role", "gateway"], "O=prod"),
        (["kube-apiserver"], "CN=kube-apiserver,O=prod"),
        (["prometheus"], "CN=prometheus,O=prod"),
        (["app"], "CN=app,O=prod"),
    ],
)
@pytest.mark.parametrize("by_request", [False, True])
def test_a_client_of_the_json_gateway_has_no_common_name(
    folder: Path, arguments: list[str], subject: str, by_request: bool
) -> None:
    """Rule 118. It has no alternative name either, because etcd compares these with the address of the client."""
    csr = ["--csr", str(make_request(folder, "-newkey", "ed25519"))] if by_request else []
    assert run(["certs", "issue", *arguments, *csr]) == 0
    made = leaf(folder / f"pki/clients/{arguments[0]}.pem")
    assert made.subject.rfc4514_string() == subject
    with pytest.raises(x509.ExtensionNotFound):
        made.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    # A renewal without the role keeps the form.
    assert run(["certs", "issue", arguments[0], *(csr or ["--renew"])]) == 0
    assert leaf(folder / f"pki/clients/{arguments[0]}.pem").subject.rfc4514_string() == subject


def test_a_gateway_certificate_with_a_name_is_kept_reported_and_renewed_without_it(
    texts: Texts, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An earlier etcdup issued it. It works until the users of etcd are enabled."""
    pki, cert = open_pki(load(CLUSTER, "cluster.yaml"), folder), folder / "pki/clients/patroni.pem"
    pki.issue_consumer("patroni", datetime.now(UTC), role="client")
    first = cert.read_bytes()
    assert run(["certs", "issue", "patroni"]) == 0
    assert cert.read_bytes() == first
    texts(capsys.readouterr().err)
    assert run(["certs", "issue", "patroni", "--renew"]) == 0
    assert leaf(cert).subject.rfc4514_string() == "O=prod"
    texts(capsys.readouterr().err)


@pytest.mark.parametrize("kind", ["kubeadm", "kube-apiserver", "patroni", "prometheus", "apisix"])
def test_each_export_issues_a_certificate_and_says_where_the_files_go(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", kind]) == 0
    name = "kube-apiserver" if kind == "kubeadm" else kind
    text = capsys.readouterr().out
    assert (folder / f"pki/clients/{name}-key.pem").exists()
    owner = {"patroni": "postgres", "prometheus": "prometheus", "apisix": "nobody"}.get(kind, "root")
    assert f"#   install -D -o {owner} -m 600 {name}-key.pem /" in text
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    YAML(typ="safe").load(plain)
