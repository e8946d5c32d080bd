"""The live display of progress: one line for each host, never wider than the terminal, erased at the end."""

import pytest

from etcdup.cli.run.progress import LiveProgress, PlainProgress, progress_of
from etcdup.cli.run.terminal import Terminal, WaitingLine
from etcdup.core.plan.plan import Plan
from etcdup.core.spec.units import show_transfer

PLAN = Plan("prod")


def test_each_host_has_a_line_that_fits() -> None:
    live = LiveProgress(Terminal(), PLAN, ("infra1", "infra22"))
    live.doing("infra1", "restarting etcd " * 20)
    lines = live.lines(60)
    assert [line.split()[1] for line in lines[:2]] == ["infra1", "infra22"]
    assert max(map(len, lines)) <= 60
    assert lines[-1].startswith("  0 of 0 steps")
    live.report("etcd.tar.gz: 12 MiB")
    assert "this machine" in live.lines(60)[0]


def test_long_work_has_a_clock_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The amount of a transfer changes, and the clock continues."""
    now = 0.0
    monkeypatch.setattr("etcdup.cli.run.progress.time.monotonic", lambda: now)
    live = LiveProgress(Terminal(), PLAN, ("infra1",))
    for moment, done in ((0.0, 0), (1.0, 8 << 20), (9.0, 24 << 20)):
        now = moment
        live.doing("infra1", f"sending etcd 3.6.14: {show_transfer(done, 32 << 20)}")
        line = live.lines(80)[0]
    assert line.endswith("sending etcd 3.6.14: 24.0 of 32.0 MiB (75%)  9 s")
    assert len(live.lines(40)[0]) <= 40
    assert live.lines(40)[0].endswith("  9 s")
    live.doing("infra1", "starting etcd")
    assert live.lines(80)[0].endswith("starting etcd")


def test_without_a_terminal_each_line_names_its_host(capsys: pytest.CaptureFixture[str]) -> None:
    """A transfer gives no line for each of its pieces."""
    plain = PlainProgress(Terminal(), PLAN)
    for done in range(100):
        for host in ("infra1", "infra2"):
            plain.doing(host, f"sending etcd 3.6.14: {show_transfer(done << 20, 100 << 20)}")
    plain.doing("operator", "issuing certificates")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["infra1", "infra2", "this machine"]


@pytest.mark.parametrize("width", [40, 80])
def test_a_wait_has_one_line_that_fits(width: int) -> None:
    line = WaitingLine(Terminal(), "reading prod-20261129T011311Z back from /srv/prod/backups: 16.0 MiB")
    shown = line.line(75.2, width)
    assert len(shown) < width
    assert shown.endswith(" 75 s")
    line.report("reading\nmore")
    assert line.line(0, width) == "  reading more 0 s"


def test_the_lines_are_erased_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.is_live = True
    with progress_of(terminal, PLAN, ("infra1",)) as progress:
        progress.doing("infra1", "restarting etcd")
        terminal.say("a message")
    said = capsys.readouterr().err
    assert "a message\n" in said
    assert said.endswith("\r\x1b[2A\x1b[J\x1b[?25h")
    assert terminal.display is None
