"""`etcdup history` of a journal: no host is contacted."""

import json
from pathlib import Path

import pytest

from etcdup.cli.main import run
from etcdup.cli.views.step_texts import past_text
from etcdup.core.plan.step_registry import STEPS
from tests.cli.conftest import CLUSTER
from tests.cli.golden import assert_golden

EVENTS = (
    {"event": "run", "operator": "anna@desk", "verb": "apply"},
    *({"event": "command", "step": "InstallFiles", "host": f"infra{n}"} for n in (1, 2, 3)),
    {"event": "command", "step": "RestartMember", "host": "infra1"},
    {"event": "command", "step": "StepOfAnotherVersion", "host": "infra1"},
    {"event": "end", "result": "failed", "error": "infra1: etcd does not stay up"},
    {"event": "run", "operator": "ben@desk", "verb": "restart"},
)


def test_the_runs_of_a_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    Path("cluster.yaml").write_text(CLUSTER)
    Path(".etcdup").mkdir()
    lines = [json.dumps({"at": f"2026-01-01T00:00:0{n}+00:00", **event}) for n, event in enumerate(EVENTS)]
    Path(".etcdup/prod.jsonl").write_text("\n".join(lines))
    assert run(["history"]) == 0
    assert_golden("history.txt", capsys.readouterr().out)


@pytest.mark.parametrize("kind", STEPS)
def test_each_step_has_words(kind: str) -> None:
    assert past_text(kind) != kind
