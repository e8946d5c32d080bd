"""Log lines of several hosts as one log: order, hostile output, and what is new."""

import json

import pytest

from etcdup.core.observed.journal_lines import (
    LogLine,
    LogPart,
    journal_argv,
    merged,
    newer_than,
    parse_file,
    parse_journal,
)


def entry(at_us: object, message: object, cursor: object = "s=1;i=2") -> str:
    return json.dumps({"__REALTIME_TIMESTAMP": at_us, "MESSAGE": message, "__CURSOR": cursor})


def texts(lines: list[LogLine]) -> list[str]:
    return [f"{line.host} {line.text}" for line in lines]


def test_lines_of_hosts_are_sorted_by_time() -> None:
    first = parse_journal("infra1", "\n".join((entry("1000000", "a"), entry("3000000", "c"))))
    second = parse_journal("infra2", entry("2000000", "b"))
    assert texts(merged((first.lines, second.lines))) == ["infra1 a", "infra2 b", "infra1 c"]


def test_a_line_without_a_time_follows_the_line_before_it() -> None:
    output = "\n".join(('{"ts": "2026-01-01T00:00:02.000Z", "msg": "x"}', "panic: y", "goroutine 1"))
    other = parse_file("infra2", '{"ts": "2026-01-01T00:00:01.000000+0000", "msg": "w"}').lines
    lines = merged((parse_file("infra1", output).lines, other))
    assert [line.host for line in lines] == ["infra2", "infra1", "infra1", "infra1"]
    assert [line.text for line in lines][-2:] == ["panic: y", "goroutine 1"]


@pytest.mark.parametrize("at", [None, 5, "-1", "9" * 40, "9" * 18, "1e9", ["1"]])
def test_any_time_is_a_time_or_none(at: object) -> None:
    (line,) = parse_journal("infra1", entry(at, "a")).lines
    assert line.at is None or line.at.year >= 1970


def test_a_message_forges_no_line_and_no_escape() -> None:
    output = "\n".join(
        (
            entry("1", "a\n2026-01-01 infra2 forged\x1b[2J"),
            "[" * 100_000,
            '"text"',
            entry("2", [104, 105]),
            "{}",
        )
    )
    part = parse_journal("infra1", output)
    assert [line.text for line in part.lines] == ["a 2026-01-01 infra2 forged\\x1b[2J", "hi"]


def test_a_message_is_cut() -> None:
    (line,) = parse_journal("infra1", entry("1", "x" * 1_000_000)).lines
    assert len(line.text) < 20_000


@pytest.mark.parametrize("cursor", ["a b", "$(id)", "x" * 1000, 5, None, "--help\n"])
def test_a_cursor_of_a_host_is_no_option(cursor: object) -> None:
    assert parse_journal("infra1", entry("1", "a", cursor)).cursor == ""


def test_the_cursor_continues_the_journal() -> None:
    argv = journal_argv(10, 60, parse_journal("infra1", entry("1", "a")).cursor)
    assert "--after-cursor=s=1;i=2" in argv
    assert not any(word.startswith("--since") for word in argv)
    assert "--since=-60s" in journal_argv(10, 60)


def test_only_lines_after_the_last_one_are_new() -> None:
    lines = tuple(LogLine("infra1", None, text) for text in "abab")
    assert newer_than(LogPart(lines), None) == lines
    assert newer_than(LogPart(lines), LogLine("infra1", None, "a")) == lines[3:]
    assert newer_than(LogPart(lines), LogLine("infra1", None, "b")) == ()
    assert newer_than(LogPart(lines), LogLine("infra1", None, "c")) == lines
