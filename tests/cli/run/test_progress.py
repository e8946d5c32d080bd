"""The live display of progress: one line for each host, never wider than the terminal, erased at the end."""

import pytest

from etcdup.cli.run.progress import LiveProgress, progress_of
from etcdup.cli.run.terminal import Terminal, WaitingLine
from etcdup.core.plan.plan import Plan

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
