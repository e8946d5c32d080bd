"""Each error has the same form and the exit code of its class, and no traceback."""

import errno
import json
from pathlib import Path

import click
import pytest

from etcdup.cli.main import run
from etcdup.cli.run.failure import Interrupted, show_failure
from etcdup.core.spec.load import load
from etcdup.errors import (
    BadFile,
    CommandFailed,
    EtcdupError,
    LockedError,
    LockLost,
    PartlyApplied,
    PkiError,
    Problem,
    RefusedError,
    RemoteError,
    UsageError,
)
from tests.support.texts import Texts

CLUSTER = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 127.77.250.1, local: true, root: ROOT/infra1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster.yaml of one local member that does not exist yet, and whose etcd cannot be downloaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETCDUP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("ROOT", str(tmp_path)))
    return path


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EtcdupError("x"), 1),
        (PkiError("x"), 1),
        (UsageError("x"), 2),
        (BadFile("cluster.yaml", (Problem(3, 1, "x"),)), 2),
        (click.UsageError("x"), 2),
        (RefusedError("x"), 4),
        (LockedError("x"), 4),
        (PartlyApplied("x"), 5),
        (LockLost("x"), 5),
        (Interrupted("x"), 130),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1),
        (ValueError("x"), 1),
        (ExceptionGroup("many", [ValueError("y"), RefusedError("x")]), 4),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert show_failure(error, ["apply"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err


def test_the_form_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_failure(EtcdupError("what", detail="one\ntwo", hint="do this"), [])
    assert capsys.readouterr().err == "error: what\n  one\n  two\n\nhint: do this\n"


def test_commands_have_the_file_that_the_operator_typed(
    texts: Texts, capsys: pytest.CaptureFixture[str]
) -> None:
    hint = "run `etcdup apply`, `etcdup explain 34` or `etcdup init -f FILE`. bob runs `etcdup restart` since 10:00:00"
    for option in ("", "-f 'my file.yaml'"):
        show_failure(EtcdupError("what", hint=hint), [], option)
        texts(capsys.readouterr().err)


def test_an_error_of_a_host_names_it_once(texts: Texts, capsys: pytest.CaptureFixture[str]) -> None:
    show_failure(CommandFailed("infra1", "script write /etc/x", 1, "", "No space left on device"), [])
    show_failure(RemoteError("infra1", "infra1: cannot take the lock"), [])
    texts(capsys.readouterr().err)


def test_a_bug_is_one_line_with_the_address_for_reports(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_failure(ValueError("a\nb"), ["-f", "my file", "plan"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: ValueError: a b"
    assert lines[-1] == "hint: run `ETCDUP_DEBUG=1 etcdup -f 'my file' plan` to get a traceback"


def test_the_debug_variable_prints_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDUP_DEBUG", "1")
    with pytest.raises(ValueError) as caught:
        raise ValueError("x")
    assert show_failure(caught.value, []) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_pipe_is_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_failure(BrokenPipeError(errno.EPIPE, "Broken pipe"), []) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["frobnicate"], "error: no such command 'frobnicate'"),
        (["plan", "--bogus"], "error: no such option"),
        (["apply", "a", "b"], "error: got unexpected extra argument (b)"),
        (["export", "nomad"], "error: invalid value for 'KIND'"),
        (["demo", "--members", "2"], "error: invalid value for '--members'"),
        (["demo", "--version", "latest", "--dir", "d"], "error: `latest` is not an etcd version"),
        (["-f", "nowhere.yaml", "status"], "error: nowhere.yaml does not exist"),
        (["status", "-f", "/"], "error: cannot read /: Is a directory"),
        (["apply", "nowhere.json"], "error: cannot read nowhere.json: No such file or directory"),
        (["init", "10.0.0.1", "10.0.0.2"], "error: cluster2.yaml: "),
        (["destroy"], "error: "),
    ],
)
def test_wrong_usage_ends_with_2(
    arguments: list[str], first: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[0] == "init":
        arguments = [*arguments, "-f", "cluster2.yaml"]
    if arguments == ["destroy"]:
        file.write_text("name: [\n")
    assert run(arguments) == 2
    assert capsys.readouterr().err.startswith(first)


def test_all_problems_of_the_file_are_printed_at_once(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("name: Prod\nversion: 3.6\nhosts: []\n")
    assert run(["plan"]) == 2
    texts(capsys.readouterr().err)


def test_init_writes_a_valid_file_and_overwrites_none(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["init", "10.0.0.1", "10.0.0.2", "10.0.0.3"]) == 0
    texts(capsys.readouterr().err)
    text = Path("cluster.yaml").read_text()
    assert [host.name for host in load(text, "cluster.yaml").hosts] == ["infra1", "infra2", "infra3"]
    assert run(["init"]) == 2
    texts(capsys.readouterr().err)
    assert Path("cluster.yaml").read_text() == text


def test_the_file_after_the_verb_wins_over_the_one_before_it_and_the_environment(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETCDUP_FILE", "environment.yaml")
    run(["status"])
    texts(capsys.readouterr().err)
    run(["-f", "outer.yaml", "status"])
    texts(capsys.readouterr().err)
    run(["-f", "outer.yaml", "status", "-f", "inner.yaml"])
    texts(capsys.readouterr().err)


def test_the_status_of_a_cluster_that_does_not_exist(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status"]) == 0
    texts(capsys.readouterr().out)
    assert run(["health"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "cluster is unavailable"


@pytest.mark.parametrize("kind", ["env", "kubeadm", "kube-apiserver"])
def test_there_is_nothing_to_export_before_there_is_a_cluster(
    texts: Texts, file: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", kind]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    texts(said.err)
    assert not (file.parent / "pki").exists()


def test_ctl_without_a_certificate_says_so(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ctl", "--", "member", "list"]) == 1
    texts(capsys.readouterr().err)


def test_missing_binaries_fail_with_1(texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text() + "install: {from: path, path: nowhere}\n")
    assert run(["plan"]) == 1
    texts(capsys.readouterr().err)


def pretend_installed(root: Path) -> None:
    """Write a program for a version that cannot be downloaded here. No plan runs it."""
    folder = root / "opt/etcd/3.6.14"
    folder.mkdir(parents=True)
    (folder / "etcd").touch(0o755)


def test_data_of_another_program_is_refused_with_4(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = file.parent / "infra1/var/lib/etcd/member"
    member.mkdir(parents=True)
    pretend_installed(file.parent / "infra1")
    assert run(["plan"]) == 4
    capsys.readouterr()
    assert run(["apply", "--yes"]) == 4
    texts(capsys.readouterr().err)
    assert json.loads((run(["plan", "--json"]), capsys.readouterr().out)[1])["refused"]


def test_a_saved_plan_of_another_cluster_is_a_wrong_file(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = file.with_name("plan.json")
    for content in (
        '{"format": 1, "cluster": "other", "steps": [], "notes": [], "token": ""}',
        "{}",
        "not json",
    ):
        saved.write_text(content)
        assert run(["apply", str(saved)]) == 2
        texts(capsys.readouterr().err)


def test_a_stale_plan_is_refused_and_the_new_plan_is_shown(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_installed(file.parent / "infra1")
    saved = file.with_name("plan.json")
    assert run(["plan", "--out", str(saved)]) == 0
    shown = capsys.readouterr().out
    plan = json.loads(saved.read_text())
    saved.write_text(json.dumps(plan | {"steps": plan["steps"][:-1]}))
    assert run(["apply", "--yes", str(saved)]) == 4
    new, _, error = capsys.readouterr().err.partition("error: ")
    assert shown.strip() in new
    texts(error)


def test_provided_certificates_are_checked_before_any_host_is_contacted(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = file.read_text().replace("local: true, root:", "ssh_address: 127.77.250.9, zone:")
    file.write_text(text + "tls: {mode: provided, ca: ca.pem, cert: cert.pem, key: key.pem}\n")
    for verb in (["plan"], ["apply", "--yes"]):
        assert run(verb) == 2
        said = capsys.readouterr().err
        assert "ca.pem" in said
        assert "key.pem" in said


def test_a_demo_uses_no_folder_with_other_files(
    texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run(["demo", "--dir", str(tmp_path)]) == 2
    texts(capsys.readouterr().err)
    assert run(["demo", "--dir", str(tmp_path), "--down"]) == 2
    texts(capsys.readouterr().err)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
