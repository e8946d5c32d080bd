"""`etcdup validate`, `schema` and `init`: no host is contacted."""

import json
from pathlib import Path

import pytest

from etcdup.cli.main import run
from tests.cli.conftest import CLUSTER
from tests.cli.golden import assert_golden


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    return tmp_path


def test_a_valid_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER)
    assert run(["validate"]) == 0
    assert_golden("validate.txt", capsys.readouterr().out)
    assert run(["validate", "--json"]) == 0
    assert_golden("validate.json", capsys.readouterr().out)


def test_a_file_with_problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER.replace("3.6.14", "3.6").replace("infra2", "infra1"))
    assert run(["validate"]) == 2
    assert_golden("validate-problems.txt", capsys.readouterr().err)
    assert run(["validate", "--json"]) == 2
    assert_golden("validate-problems.json", capsys.readouterr().out)


def test_missing_certificates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tls = "tls: {mode: provided, ca: ca.pem, cert: kubernetes.pem, key: kubernetes-key.pem}\n"
    (folder / "cluster.yaml").write_text(CLUSTER + tls)
    assert run(["validate"]) == 2
    assert capsys.readouterr().out == ""
    assert run(["validate", "--json"]) == 2
    shown = json.loads(capsys.readouterr().out)
    assert not shown["valid"]
    assert shown["problems"]


@pytest.mark.parametrize(
    ("shown", "arguments", "ssh"),
    [
        ("port 22\nuser admin\n", [], "ssh: {user: admin, sudo: true}"),
        ("user root\n", [], "ssh: {user: root}"),
        ("user admin\n", ["--user", "root"], "ssh: {user: root}"),
        ("user admin\n", ["--user", "ubuntu"], "ssh: {user: ubuntu, sudo: true}"),
    ],
)
def test_init_proposes_the_user_of_ssh(
    shown: str, arguments: list[str], ssh: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in place of OpenSSH prints the settings of a host."""
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n[ \"$*\" = '-G -- 10.0.0.1' ] && cat <<END\n{shown}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    assert run(["init", *arguments, "10.0.0.1"]) == 0
    assert ssh in (folder / "cluster.yaml").read_text().splitlines()


def test_init_without_openssh_proposes_the_user_of_this_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("LOGNAME", "jo")
    assert run(["init", "10.0.0.1"]) == 0
    written = (folder / "cluster.yaml").read_text()
    assert "ssh: {user: jo, sudo: true}" in written.splitlines()


def test_the_first_line_of_a_new_file_names_a_schema_that_exists(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "made").mkdir()
    assert run(["init", "-f", "made/cluster.yaml", "10.0.0.1", "10.0.0.2", "10.0.0.3"]) == 0
    first = (folder / "made/cluster.yaml").read_text().splitlines()[0]
    named = folder / "made" / first.partition("$schema=")[2]
    assert run(["schema"]) == 0
    assert named.read_text() == capsys.readouterr().out
    assert named.parent.stat().st_mode & 0o777 == 0o700
    assert json.loads(named.read_text())["required"] == ["name", "version", "hosts"]
