"""`etcdup member replace`: what is refused before any host is contacted, and how it writes cluster.yaml."""

from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.cli.run.cluster_file import replace_text
from etcdup.errors import UsageError
from tests.support.texts import Texts

CLUSTER = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 127.77.251.1, local: true, root: ROOT/infra1}
  - {name: infra2, address: 127.77.251.2, local: true, root: ROOT/infra2, listen_address: 127.77.251.2}
  - {name: infra3, address: 127.77.251.3, local: true, root: ROOT/infra3}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETCDUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("ROOT", str(tmp_path)))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["infra9"],
            2,
            "cluster.yaml has no host infra9\n\nhint: use one of its hosts: infra1, infra2, infra3",
        ),
        (["infra1", "--address", "a b"], 2, "--address: `a b` is neither an IP address nor a DNS name"),
        (["infra1", "--address", "127.77.251.3"], 2, "cluster.yaml:6:29: `infra1` and `infra3`"),
        (
            ["infra2", "--address", "127.77.251.9"],
            2,
            "`listen_address: 127.77.251.2` of infra2 may belong to",
        ),
        (["infra1"], 4, "the cluster is not formed yet"),
        (["infra1", "--address", "127.77.251.9", "--yes"], 4, "the cluster is not formed yet"),
    ],
)
def test_a_refused_replacement_changes_nothing(
    arguments: list[str], code: int, words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file.read_text()
    assert run(["member", "replace", *arguments]) == code
    assert words in capsys.readouterr().err
    assert file.read_text() == before


def test_the_file_option_is_accepted_before_both_words_of_the_verb(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["-f", "outer.yaml", "member", "replace", "infra1"]) == 2
    texts(capsys.readouterr().err)


def test_the_file_is_replaced_atomically_with_its_mode_and_its_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.yaml", tmp_path / "cluster.yaml"
    target.write_text("old\r\n", newline="")
    target.chmod(0o640)
    link.symlink_to(target)
    replace_text(link, "old\r\n", "new\r\n")
    assert link.is_symlink()
    assert (target.read_bytes(), target.stat().st_mode & 0o777) == (b"new\r\n", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster.yaml", "real.yaml"]


def test_a_file_that_another_program_changed_is_not_overwritten(texts: Texts, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("theirs")
    with pytest.raises(UsageError) as caught:
        replace_text(path, "old", "new")
    texts(caught.value)
    assert path.read_text() == "theirs"
