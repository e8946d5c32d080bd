"""No output contains what a terminal acts on: not in text, in JSON, in the journal or in the log file."""

import json
import ssl
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdup.cli.run.failure import show_failure
from etcdup.cli.run.output import Output
from etcdup.cli.run.progress import LiveProgress
from etcdup.cli.run.terminal import Terminal
from etcdup.cli.views.change_log_view import change_line
from etcdup.cli.views.keys_view import comparison_json, conflict_lines, conflicts_json, render_comparison
from etcdup.cli.views.plan_view import render_plan
from etcdup.cli.views.status_view import render_status, status_json, status_of
from etcdup.cli.views.text import Paint, json_text, to_terminal
from etcdup.core.backups.change_log import KeyChange
from etcdup.core.backups.old_keys import OldKey
from etcdup.core.etcd.keys import PresentKey
from etcdup.core.etcd.leases import key_prefix
from etcdup.core.observed.host import Unreachable
from etcdup.core.observed.member import MemberSilent
from etcdup.core.plan.plan import Plan, plan_to_json
from etcdup.core.planner.planner import plan
from etcdup.core.restore.restore_keys import Conflict, KeyComparison
from etcdup.core.spec.visible import VALUE_LIMIT, one_line, visible
from etcdup.errors import CommandFailed, EtcdupError, RemoteError
from etcdup.ops.world.journal import Journal
from tests.hostile.test_markers import SPEC, observed_of
from tests.support.fake_world import TOKEN

CORPUS = Path(__file__).parent / "fuzz/corpus/certs"
ATTACKS = [
    "\x1b[1A\x1b[2K\x1b[32mok: all 3 hosts verified\x1b[0m",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x9b2J\x85",
    "\u202egnp.exe\u2066\u200f\u061c",
    "a\rb\x08\x7f\x00",
    "\U000e0041\ufeff\ud800",
    "[link=http://evil]click[/link]",
]
PAINT = Paint(colour=True)


def is_safe(text: str) -> bool:
    kinds = {unicodedata.category(each) for each in text} - {"Cc"}
    controls = {each for each in text if unicodedata.category(each) == "Cc"}
    bidi = {"\u202e", "\u2066", "\u200f", "\u061c", "\u2028"}
    return controls <= {"\n", "\t"} and not bidi & set(text) and "Cs" not in kinds


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(), st.sampled_from(ATTACKS)))
def test_any_text_is_visible(text: str) -> None:
    assert is_safe(visible(text))
    assert is_safe(to_terminal(text))
    assert "\n" not in one_line(text)
    assert is_safe(json_text({text: [text, {"x": text}]}))
    json.loads(json_text({"x": text})).get("x").encode()
    assert visible(visible(text)) == visible(text)


def test_only_the_colours_of_etcdup_are_written() -> None:
    painted = PAINT("bold red", "error:")
    assert to_terminal(painted) == "\x1b[1;31merror:\x1b[0m"
    assert is_safe(to_terminal("\x1b[1;31merror:\x1b[0m"))
    assert to_terminal(PAINT("red", ATTACKS[0])).count("\x1b") == 2


def test_a_value_is_bounded() -> None:
    assert len(json.loads(json_text({"x": "y" * 10**6}))["x"]) < VALUE_LIMIT + 50


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("error", [EtcdupError, RuntimeError])
def test_errors(attack: str, error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    show_failure(error(attack), [attack])
    show_failure(EtcdupError("x", detail=attack, hint=attack), [])
    show_failure(click.UsageError(attack), [])
    show_failure(CommandFailed("infra1", "x", 1, "", attack * 10_000), [])
    shown = capsys.readouterr().err
    assert is_safe(shown)
    assert len(shown) < 150_000


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_message_of_a_host_is_one_line(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Otherwise it could show a hint with a command of its own."""
    show_failure(RemoteError("infra1", f"refused\nhint: run `{attack}`"), [])
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_terminal(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.print_data(f"{attack}\n")
    terminal.say(attack)
    terminal.warn(attack)
    terminal.report(f"{attack}: 1 %")
    captured = capsys.readouterr()
    assert is_safe(captured.out)
    assert is_safe(captured.err)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_live_display(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    display = LiveProgress(Terminal(), Plan("prod"), [attack])
    display.doing(attack, attack)
    display._draw()
    shown = capsys.readouterr().err
    for own in ("\x1b[?25l", "\x1b[?25h", "\x1b[K", "\x1b[J", "\r"):
        shown = shown.replace(own, "")
    assert is_safe(shown)


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_journal_and_the_log_file(attack: str, tmp_path: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.record(attack, {attack: attack, "argv": [attack]})
    output = Output()
    output.open_log(tmp_path / "log", attack)
    output.log("info", "command", error=attack)
    output.close(1, attack)
    for path in (tmp_path / "journal", tmp_path / "log"):
        text = path.read_text(encoding="utf-8")
        assert is_safe(text)
        assert all(is_safe(json.dumps(json.loads(line), ensure_ascii=False)) for line in text.splitlines())


def filled(value: Any, attack: str) -> Any:
    """Return the value with the attack at the end of each text in it, but those that name hosts and their files."""
    if isinstance(value, str):
        return value + attack
    if isinstance(value, tuple):
        return tuple(filled(each, attack) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in fields(value) if each.name not in ("marker", "host", "former_host")]
        return replace(
            value, **{name: filled(getattr(value, name), attack) for name in names if name != "version"}
        )
    return value


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("members", ["HHH", "HHD", "DUX", "FFF", "HLU"])
def test_every_text_of_an_observation(attack: str, members: str) -> None:
    """Plan and status show names, reasons, versions and units of hosts and members."""
    try:
        before = observed_of(members)
    except StopIteration:
        return
    hosts = {name: filled(seen, attack) for name, seen in before.hosts.items()}
    hosts["infra3"] = Unreachable("infra3", attack, attack)
    answers = {name: filled(seen, attack) for name, seen in before.members.items()}
    answers["infra3"] = MemberSilent(attack, attack)
    found = replace(before, hosts=hosts, members=answers)
    status, planned = status_of(SPEC, found), plan(SPEC, found, TOKEN)
    assert is_safe(to_terminal(render_status(status, Paint())))
    assert is_safe(json_text(status_json(status)))
    if isinstance(planned, Plan):
        assert is_safe(to_terminal(render_plan(planned, Paint())))
        assert is_safe(json_text(plan_to_json(planned)))


@pytest.mark.parametrize("attack", [*ATTACKS, "a\nnothing to do: no key has to be written\n\t"])
def test_keys_of_a_backup_and_of_the_cluster(attack: str) -> None:
    """A key is one line, whatever clients wrote. Values are not shown."""
    name = attack.encode("utf-8", "surrogatepass")
    found = KeyComparison(name, name, with_leased=False, leased=Counter({key_prefix(name): 1}))
    found.add(OldKey(name, b"secret", 0, (2, 0)), PresentKey(5, b"secret too", 0))
    conflicts = [Conflict(name, 5, 6)]
    change = change_line(KeyChange(2, 0, "created", name, 1, 0))
    shown = render_comparison(found, "backup x", 7), conflict_lines(conflicts), change
    assert [to_terminal(each).count("\n") for each in shown] == [6, 1, 1]
    facts = json_text({**comparison_json(found, "backup x", 7), "not_written": conflicts_json(conflicts)})
    for text in (*map(to_terminal, shown), facts):
        assert is_safe(text)
        assert "secret" not in text


def test_no_library_warns_of_a_certificate_on_the_terminal(tmp_path: Path) -> None:
    """cryptography warns of a serial number below zero, with the path and the line of the code."""
    der = (CORPUS / "cert-der").read_bytes()
    assert der.count(b"\x02\x01\x07") == 1
    pem = ssl.DER_cert_to_PEM_cert(der.replace(b"\x02\x01\x07", b"\x02\x01\x87")).encode()
    (tmp_path / "ca.pem").write_bytes(pem)
    (tmp_path / "cluster.yaml").write_text(
        "name: prod\nversion: 3.6.14\nhosts: [{name: infra1, address: 10.0.0.1}]\n"
        "tls: {mode: provided, ca: ca.pem, cert: ca.pem, key: ca.pem}\n"
    )
    argv = [sys.executable, "-m", "etcdup", "validate"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert "ca.pem" in done.stderr + done.stdout, "it was read"
    assert "Warning" not in done.stderr
