"""`etcdup explain`: texts at 80 columns, JSON, and the errors for what does not exist."""

import json

import pytest

from etcdup.cli.access.explain import explain, explanation, overview
from etcdup.cli.views.text import Paint
from etcdup.core.rules import CODES, RULES
from etcdup.errors import EXIT_USAGE, UsageError
from tests.support.texts import Texts


def test_everything_fits_80_columns() -> None:
    """Only an address can be longer: it is never split."""
    text = explanation((*RULES.values(), *CODES.values()), 80, Paint()) + overview(Paint())
    assert [line for line in text.splitlines() if len(line) > 80 and not line.startswith("  https://")] == []


def test_the_overview_has_a_line_for_each_rule_and_code() -> None:
    lines = overview(Paint()).splitlines()
    for rule in RULES.values():
        assert f"{rule.number:>5}  {rule.title}" in lines
    for code in CODES.values():
        assert sum(line.split()[:1] == [code.code] for line in lines) == 1


@pytest.mark.parametrize(
    ("what", "headings"),
    [
        ("18", ["Rule 18:"]),
        ("rules 57, 65", ["Rule 57:", "Rule 65:"]),
        ("(rule 94)", ["Rule 94:"]),
        ("clock-differs", ["clock-differs:"]),
        ("CIS 2.7", ["client-ca-missing:"]),
        ("1.1.12", ["data-owned-by-root:", "data-owner:"]),
        ("swap-on 93", ["swap-on:", "Rule 93:"]),
    ],
)
def test_rules_and_codes_are_accepted_as_they_are_printed(
    what: str, headings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert explain(what, as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] + ":" for line in lines if line.startswith(tuple(headings))] == headings


def test_a_command_stays_on_one_line() -> None:
    text = explanation(RULES.values(), 60, Paint())
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("18 clock-differs", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rules"][0]["number"] == 18
    assert told["rules"][0]["sources"][0].startswith("https://")
    assert told["codes"][0]["rules"] == [94]
    assert explain("", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (len(told["rules"]), len(told["codes"])) == (len(RULES), len(CODES))


@pytest.mark.parametrize("what", ["120", "0", "clock-difers", "swap", "9.9.9"])
def test_an_unknown_name_is_an_error_with_similar_names(texts: Texts, what: str) -> None:
    with pytest.raises(UsageError) as raised:
        explain(what, as_json=False)
    assert raised.value.exit_code == EXIT_USAGE
    texts(raised.value)
