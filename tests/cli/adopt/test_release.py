"""`adopt --release` on a machine without a marker: only the files of the operator are left to rename."""

import json
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.errors import EXIT_CHANGES, EXIT_DONE, EXIT_REFUSED
from tests.support.texts import Texts

CLUSTER = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 127.77.250.1, local: true, root: ROOT/infra1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("ROOT", str(tmp_path)))
    (tmp_path / "pki").mkdir()
    return path


def test_json_without_yes_renames_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["adopt", "--release", "--json"]) == EXIT_CHANGES
    assert json.loads(capsys.readouterr().out)["outcome"] == "pending"
    assert file.exists()
    assert (file.parent / "pki").exists()


def test_with_yes_the_files_are_renamed(file: Path) -> None:
    assert run(["adopt", "--release", "--json", "--yes"]) == EXIT_DONE
    assert not file.exists()
    names = {path.name.partition(".aside-")[0] for path in file.parent.glob("*.aside-*")}
    assert names == {"cluster.yaml", "pki"}


def test_a_host_that_is_not_reachable_keeps_the_files(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its marker may be there. No program listens on this port."""
    file.write_text(
        file.read_text().replace(", local: true", "").partition(", root:")[0] + "}\nssh: {port: 1}\n"
    )
    assert run(["adopt", "--release", "--yes"]) == EXIT_REFUSED
    texts(capsys.readouterr().err)
    assert file.exists()
    assert (file.parent / "pki").exists()
