"""The configurations of clients, while a change of hosts is not complete and after it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.core.spec.model import Spec
from etcdup.ops.pki.open import open_pki
from etcdup.ops.previous_endpoints import read_previous_endpoints, write_previous_endpoints
from tests.support.fake_world import spec_of

OLD = ("https://192.168.9.1:2379", "https://192.168.9.2:2379")
EVERY = (
    ["export", "kubeadm"],
    ["export", "kube-apiserver"],
    ["export", "env"],
    ["certs", "issue", "patroni"],
    ["certs", "issue", "prometheus"],
    ["certs", "issue", "app"],
)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A cluster.yaml with its PKI. No host of it exists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    spec = spec_of()
    hosts = "".join(f"  - {{name: {each.name}, address: {each.address}}}\n" for each in spec.hosts)
    (tmp_path / "cluster.yaml").write_text(f"name: prod\nversion: 3.6.14\nhosts:\n{hosts}")
    open_pki(spec, tmp_path).issue(["admin"], datetime.now(UTC))
    return spec


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_previous_and_new_endpoints_are_printed_together(
    words: list[str], spec: Spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [spec.client_url(host) for host in spec.hosts]
    write_previous_endpoints(spec, tmp_path, OLD)
    assert run(words) == 0
    during = configured(capsys.readouterr().out)
    assert all(url.removeprefix("https://") in during for url in (*OLD, *new))
    write_previous_endpoints(spec, tmp_path, ())
    assert run(words) == 0
    after = configured(capsys.readouterr().out)
    assert all(url.removeprefix("https://") in after for url in new)
    assert not any(url.removeprefix("https://") in after for url in OLD)


def configured(text: str) -> str:
    """Return the configuration without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_the_file_of_previous_endpoints_is_optional(spec: Spec, tmp_path: Path) -> None:
    assert read_previous_endpoints(spec, tmp_path) == ()
    write_previous_endpoints(spec, tmp_path, OLD)
    assert read_previous_endpoints(spec, tmp_path) == OLD
    (tmp_path / "pki/previous-endpoints").write_bytes(b"\xff")
    assert read_previous_endpoints(spec, tmp_path) == ()
