"""Wrong and unusual ways to call etcdup: each is answered with the command to type, and none with a traceback."""

import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from etcdup.cli.main import run
from tests.support.keyboard import run_interactively


@pytest.mark.parametrize(
    ("arguments", "instead"),
    [
        (["helth"], "`etcdup health`"),
        (["Status"], "`etcdup status`"),
        (["certs", "renw"], "`etcdup certs renew`"),
        (["upgrade"], "`version`"),
        (["scale"], "`hosts`"),
        (["up"], "`etcdup apply`"),
        (["version"], "`etcdup --version`"),
        (["member", "list"], "`etcdup status`"),
        (["backup", "save"], "`etcdup backup now`"),
        (["help", "certs", "renw"], "`etcdup certs renew`"),
        (["apply", "prod.yaml"], "`etcdup -f prod.yaml apply`"),
    ],
)
def test_the_hint_has_the_command_to_type(
    arguments: list[str], instead: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert instead in capsys.readouterr().err.partition("hint:")[2]


@pytest.mark.parametrize("word", ["reset", "delete", "uninstall", "remove", "rm", "down", "restroy"])
def test_no_hint_proposes_to_destroy_the_cluster(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([word]) == 2
    assert "destroy`" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", [(), ("plan",), ("certs",), ("certs", "renew")])
def test_help_is_that_of_the_verb(verb: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", *verb]) == 0
    shown = capsys.readouterr().out
    assert run([*verb, "--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("group", [(), ("certs",), ("member",), ("backup",)])
def test_a_group_without_a_verb_prints_its_help(
    group: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*group, "--help"]) == 0
    shown = capsys.readouterr().out
    assert run(group) == 2
    assert capsys.readouterr() == ("", shown)


def test_ctrl_c_during_the_imports_prints_no_traceback(tmp_path: Path) -> None:
    """The module takes long to import, as from a slow disk."""
    (tmp_path / "click.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    code = "import sys; sys.path.insert(0, sys.argv[1]); from etcdup.__main__ import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "\ninterrupted\n")
    assert process.returncode == 130


ASK_LATE = """
import asyncio, fcntl, json, struct, sys, termios, time
from etcdup.cli.run.terminal import Terminal
terminal = Terminal()
print("ready", flush=True)
while not struct.unpack("i", fcntl.ioctl(0, termios.FIONREAD, bytes(4)))[0]:
    time.sleep(0.01)
print(json.dumps({"yes": asyncio.run(terminal.confirm("Apply?"))}))
"""


def test_what_was_typed_before_a_question_is_no_answer() -> None:
    start = partial(_start_on_terminal, ASK_LATE)
    _, screen = run_interactively(start, [("ready", "y"), ("Apply?", "n")])
    assert json.loads(screen.splitlines()[-1]) == {"yes": False}


def _start_on_terminal(code: str, terminal: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=terminal, stdout=terminal, stderr=terminal, text=True
    )
