"""`--verbose`, `--quiet` and `--log-file`: before the verb or after it, and never with a secret."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.cli.run.output import command_text
from etcdup.core.spec.model import HostSpec, SshSpec
from etcdup.errors import CommandFailed
from etcdup.remote.fleet import connect
from etcdup.remote.secrets import Secrets
from etcdup.remote.traced_host import traced
from tests.support.texts import Texts

CLUSTER = """\
name: prod
version: 3.6.14
hosts:
  - {name: infra1, address: 127.77.250.1, local: true, root: ROOT/infra1}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster.yaml of one local member that does not exist yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ETCDUP_FILE", raising=False)
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("ROOT", str(tmp_path)))
    return path


def read_log(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("arguments", [["-v", "status"], ["status", "--verbose"]])
def test_verbose_prints_each_command(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert re.search(r"infra1: sh -c .*\(exit status 0, \d", said.err)
    assert "sh -c" not in said.out


def test_without_verbose_no_command_is_printed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    assert "sh -c" not in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["-q", "status"], ["status", "--quiet"]])
def test_quiet_prints_data_alone(
    arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0
    said = capsys.readouterr()
    assert said.out
    assert said.err == ""


def test_quiet_prints_errors(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-q", "-f", "nowhere.yaml", "status"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("arguments", [["-v", "-q", "status"], ["-q", "status", "-v"], ["status", "-qv"]])
def test_verbose_and_quiet_exclude_each_other(
    texts: Texts, arguments: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    texts(capsys.readouterr().err)


@pytest.mark.parametrize("arguments", [["--log-file", "log", "status"], ["status", "--log-file", "log"]])
def test_the_log_has_a_line_for_each_command(arguments: list[str], file: Path) -> None:
    assert run(arguments) == 0
    assert run(arguments) == 0
    lines = read_log(Path("log"))
    # The probe, and the holder of the lock.
    assert [line["event"] for line in lines] == ["start", "command", "command", "end"] * 2
    assert {"time", "level", "event", "host", "command", "exit_status", "duration_s"} == set(lines[1])
    assert (lines[1]["host"], lines[1]["exit_status"], lines[3]["exit_code"]) == ("infra1", 0, 0)


def test_the_log_ends_with_the_error(file: Path) -> None:
    assert run(["--log-file", "log", "-f", "nowhere.yaml", "status"]) == 2
    end = read_log(Path("log"))[-1]
    assert (end["level"], end["event"], end["exit_code"]) == ("error", "end", 2)
    assert "nowhere.yaml" in str(end["error"])


def test_a_log_that_cannot_be_opened_is_wrong_usage(
    texts: Texts, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "--log-file", "nowhere/log"]) == 2
    texts(capsys.readouterr().err)


def test_a_command_is_shown_without_scripts_and_secrets() -> None:
    assert command_text(["systemctl", "restart", "etcd"]) == "systemctl restart etcd"
    assert command_text(["sh", "-c", "a\nb\nc\n", "x y"]) == "sh -c '[script of 3 lines]' 'x y'"
    for secret in ("-----BEGIN PRIVATE KEY-----", "AGE-SECRET-KEY-1ABC", "--password=abc", "passphrase: abc"):
        assert command_text(["x", secret]) == "x '[redacted]'"


class Trace:
    """Collects what a traced host reports."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, int | None, str]] = []

    def record_command(
        self, host: str, argv: Sequence[str], status: int | None, duration_s: float, error: str = ""
    ) -> None:
        assert duration_s >= 0
        self.commands.append((host, command_text(argv), status, error))


async def test_a_traced_host_reports_each_command_and_no_content(tmp_path: Path) -> None:
    trace, path = Trace(), f"{tmp_path}/file"
    spec = HostSpec(name="infra1", address="127.77.250.1", local=True, root=str(tmp_path))
    host = await traced(connect, trace)(spec, SshSpec(), Secrets(None))
    try:
        assert (await host.run(["cat"], stdin=b"a secret")).stdout == "a secret"
        await host.write(path, b"a secret", mode=0o600, owner="")
        assert await host.read(path) == b"a secret"
        assert (await host.run(["false"])).status == 1
        with pytest.raises(CommandFailed):
            await host.run(["sleep", "60"], timeout_s=0.2)
        async with host.hold(["cat"]):
            pass
    finally:
        await host.close()
    assert [command[:3] for command in trace.commands] == [
        ("infra1", "cat", 0),
        ("infra1", f"write {path}", 0),
        ("infra1", f"read {path}", 0),
        ("infra1", "false", 1),
        ("infra1", "sleep 60", None),
        ("infra1", "cat", None),
    ]
    assert "secret" not in str(trace.commands)
    assert trace.commands[4][3]
