"""The runs of a journal."""

import json

from etcdup.core.observed.history import runs_of


def line(event: str, **facts: object) -> str:
    return json.dumps({"at": "2026-01-01T00:00:00.000+00:00", "event": event, **facts})


def test_each_run_has_its_result_and_its_steps() -> None:
    runs = runs_of(
        (
            line("command", step="PrepareHost", host="infra1"),  # of an etcdup that recorded no runs
            line("run", operator="anna@desk", verb="apply"),
            line("command", step="RestartMember", host="infra1"),
            line("command", step="RestartMember", host="infra1"),
            line("request", step="AddLearner", member="infra2"),
            line("leadership was not transferred", host="infra1", why="x"),
            line("end", result="failed", error="infra2: no"),
            line("command", step="backup", host="operator"),
            line("run", operator="ben@desk", verb="restart"),
        )
    )
    assert [(run.operator, run.verb, run.result, run.error) for run in runs] == [
        ("anna@desk", "apply", "failed", "infra2: no"),
        ("ben@desk", "restart", "no end", ""),
    ]
    assert runs[0].steps == (("RestartMember", "infra1"), ("AddLearner", "infra2"))
    assert runs[1].steps == ()


def test_any_line_is_a_line_of_a_journal_or_left_out() -> None:
    odd = ("", "{", "[]", '"run"', "[" * 50_000, '{"event": ["run"]}', '{"event": "end"}', '{"event": "run"}')
    assert [run.verb for run in runs_of(odd)] == [""]
