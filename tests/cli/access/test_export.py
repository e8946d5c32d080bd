"""The configurations of clients, while a change of hosts is not complete and after it."""

from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.core.spec.load import load
from etcdup.ops.previous_endpoints import read_previous_endpoints, write_previous_endpoints
from tests.cli.conftest import CLUSTER

SPEC = load(CLUSTER, "cluster.yaml")
OLD = ("https://192.168.9.1:2379", "https://192.168.9.2:2379")
EVERY = (
    ["export", "kubeadm"],
    ["export", "kube-apiserver"],
    ["export", "patroni"],
    ["export", "prometheus"],
    ["export", "apisix"],
    ["export", "env"],
    ["certs", "issue", "patroni"],
    ["certs", "issue", "prometheus"],
    ["certs", "issue", "app"],
)


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_previous_and_new_endpoints_are_printed_together(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [SPEC.client_url(host) for host in SPEC.hosts]
    write_previous_endpoints(SPEC, folder, OLD)
    assert run(words) == 0
    during = configured(capsys.readouterr().out)
    assert all(url.removeprefix("https://") in during for url in (*OLD, *new))
    write_previous_endpoints(SPEC, folder, ())
    assert run(words) == 0
    after = configured(capsys.readouterr().out)
    assert all(url.removeprefix("https://") in after for url in new)
    assert not any(url.removeprefix("https://") in after for url in OLD)


def configured(text: str) -> str:
    """Return the configuration without its comments."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def test_the_file_of_previous_endpoints_is_optional(folder: Path) -> None:
    assert read_previous_endpoints(SPEC, folder) == ()
    write_previous_endpoints(SPEC, folder, OLD)
    assert read_previous_endpoints(SPEC, folder) == OLD
    (folder / "pki/previous-endpoints").write_bytes(b"\xff")
    assert read_previous_endpoints(SPEC, folder) == ()
