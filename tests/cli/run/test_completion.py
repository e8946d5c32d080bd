"""Completion in a shell: names from files on this machine, and never an error."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.core.spec.load import load
from etcdup.ops.pki.open import open_pki
from tests.cli.conftest import CLUSTER


@pytest.fixture
def complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Complete":
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    pki = open_pki(load(CLUSTER, "cluster.yaml"), tmp_path)
    pki.issue(["admin"], datetime.now(UTC))
    pki.issue_consumer("apiserver", datetime.now(UTC))
    (tmp_path / "backups").mkdir()
    for ending in (".json", ".db", ".proof.json"):
        (tmp_path / f"backups/prod-20260101T000000Z{ending}").touch()
    return Complete(monkeypatch, capsys)


class Complete:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, words: str) -> list[str]:
        """Return what bash would offer after these words. The last one is incomplete."""
        self._monkeypatch.setenv("_ETCDUP_COMPLETE", "bash_complete")
        self._monkeypatch.setenv("COMP_WORDS", f"etcdup {words}")
        self._monkeypatch.setenv("COMP_CWORD", str(words.count(" ") + 1))
        assert run([]) == 0
        out, err = self._capsys.readouterr()
        assert err == ""
        return [line.partition(",")[2] for line in out.splitlines() if line]


@pytest.mark.parametrize("words", ["restart ", "logs ", "member replace ", "recover --fenced "])
def test_hosts(complete: Complete, words: str) -> None:
    assert complete(words) == ["infra1", "infra2", "infra3"]


def test_consumers_and_backups(complete: Complete) -> None:
    assert complete("certs forget ") == ["apiserver"]
    assert complete("restore ") == ["latest", "prod-20260101T000000Z"]
    assert complete("backup verify prod") == ["prod-20260101T000000Z"]


def test_a_file_that_cannot_be_read_gives_no_names(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("hosts: [")
    assert complete("restart ") == []
    assert complete("restart -f absent.yaml ") == []
