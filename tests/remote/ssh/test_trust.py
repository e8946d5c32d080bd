"""`etcdup trust` with a real sshd, also behind a jump host."""

import getpass
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.cli.setup.trust import key_files
from etcdup.errors import OfferedKey
from tests.support.sshd import Sshd, new_key
from tests.support.texts import Texts

Write = Callable[..., Path]


@pytest.fixture
def write(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write cluster.yaml of one host, and return its known_hosts file, which is not there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)

    def write(jump: Sshd | None = None, *, address: str = "127.0.0.1") -> Path:
        known, user = tmp_path / "ssh/known", getpass.getuser()
        through = f", jump: '{user}@127.0.0.1:{jump.port}'" if jump else ""
        (tmp_path / "cluster.yaml").write_text(
            f"name: prod\nversion: 3.6.14\nhosts: [{{name: infra1, address: {address}}}]\n"
            f"ssh: {{user: {user}, port: {sshd.port}, identity_file: {sshd.identity}, known_hosts: {known}, "
            f"config_file: /dev/null{through}}}\n"
        )
        return known

    return write


def test_a_new_key_is_added_once(write: Write, sshd: Sshd, capsys: pytest.CaptureFixture[str]) -> None:
    known = write()
    assert run(["trust", "--yes"]) == 0
    assert "SHA256:" in capsys.readouterr().err
    before = known.read_text()
    assert before.split()[:3] == sshd.known_hosts_line().split()[:3]
    assert known.stat().st_mode & 0o777 == 0o600
    assert run(["trust", "--yes"]) == 0
    assert known.read_text() == before


def test_without_a_confirmation_nothing_is_added(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    known = write()
    assert run(["trust"]) == 2  # stdin is not a terminal
    capsys.readouterr()
    assert run(["trust", "--json"]) == 3
    shown = json.loads(capsys.readouterr().out)
    assert [key["host"] for key in shown["new"]] == ["infra1"]
    assert shown["added"] == []
    assert not known.exists()


def test_a_changed_key_is_never_added(
    texts: Texts, write: Write, sshd: Sshd, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = write()
    known.parent.mkdir()
    known.write_text(sshd.known_hosts_line(new_key(tmp_path, "other")))
    before = known.read_text()
    assert run(["trust", "--yes"]) == 1
    error = capsys.readouterr().err
    assert error.count("SHA256:") == 2, "the known key and the shown one"
    texts(error, PORT=sshd.port)
    assert run(["trust", "--yes", "--json"]) == 1
    assert known.read_text() == before


def test_a_machine_that_cluster_yaml_does_not_have(write: Write, sshd: Sshd) -> None:
    known = write(address="127.0.0.9")  # no sshd uses this address
    assert run(["trust", "127.0.0.1", "--yes"]) == 0
    assert known.read_text().split()[:3] == sshd.known_hosts_line().split()[:3]
    assert run(["trust", "--yes"]) == 1
    assert run(["trust", "infra1", "--yes"]) == 1, "a name of cluster.yaml is its host"


def test_a_wrong_address(texts: Texts, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    known = write()
    assert run(["trust", "a b", "--yes"]) == 2
    texts(capsys.readouterr().err)
    assert not known.exists()


def test_the_keys_of_a_jump_host_and_of_the_host_behind_it(write: Write, sshd: Sshd, jump: Sshd) -> None:
    known = write(jump)
    assert run(["trust", "--yes"]) == 0
    ports = {line.split()[0] for line in known.read_text().splitlines()}
    assert ports == {f"[127.0.0.1]:{jump.port}", f"[127.0.0.1]:{sshd.port}"}


def test_a_file_that_cannot_be_written(
    texts: Texts, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    known = write()
    known.parent.write_text("no folder")
    assert run(["trust", "--yes"]) == 2
    texts(re.sub(r"(?s).*(?=^error: )", "", capsys.readouterr().err, flags=re.M))


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("ssh-ed25519", "ed25519"),
        ("ecdsa-sha2-nistp256", "ecdsa"),
        ("ssh-rsa", "rsa"),
        ("rsa-sha2-512", "rsa"),
    ],
)
def test_the_file_of_each_kind_of_key_is_named(algorithm: str, kind: str) -> None:
    key = OfferedKey("infra1", "10.0.0.1 port 22", f"{algorithm} SHA256:abc", "line", "known_hosts")
    assert key_files([key]) == [f"/etc/ssh/ssh_host_{kind}_key.pub"]
