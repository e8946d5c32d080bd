"""The rules as data: each rule that the source cites is there, each is tested, each finding's code is explained."""

import ast
import re
from pathlib import Path

import pytest

from etcdup.core.rules import CODES, RULES, TOPICS, Code, Rule
from tests.citations import cited_rules, codes_given, modules, numbers_in, rules_argument
from tests.rule_coverage import TESTED_BY
from tests.rules_page import PAGE, rules_page

TESTS = next(folder for folder in Path(__file__).parents if folder.name == "tests")
SOURCE_FORM = re.compile(r"https://\S+|tested on real etcd: .+")
RAISED = [
    (code, call)
    for path, tree in modules().items()
    if "core" in path.parts
    for code, call in codes_given(tree)
]


def test_each_rule_that_is_cited_exists() -> None:
    missing = {number: files for number, files in cited_rules().items() if number not in RULES}
    assert missing == {}


def test_numbers_have_no_gap_and_no_twin() -> None:
    assert list(RULES) == list(range(1, len(RULES) + 1))
    assert sum(map(len, TOPICS.values())) == len(RULES)


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: str(rule.number))
def test_a_rule_is_whole(rule: Rule) -> None:
    assert rule.title[0].isupper() or rule.title.startswith(("etcd ", "force-new-cluster "))
    assert not rule.title.endswith(".")
    assert len(rule.title) <= 72, "`etcdup explain` lists it on one line of 80 columns"
    assert 1 <= sentences(rule.says) <= 3
    assert 1 <= sentences(rule.why) <= 2
    for source in rule.source.split("; "):
        assert SOURCE_FORM.fullmatch(source), source


@pytest.mark.parametrize("code", CODES.values(), ids=lambda code: code.code)
def test_a_code_is_whole(code: Code) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", code.code)
    assert not code.title.endswith(".")
    for text in (code.means, code.why, code.do):
        assert sentences(text) >= 1
    assert set(code.rules) <= RULES.keys()


def sentences(text: str) -> int:
    """Each ends with a full stop or a question mark; not one in backquotes, and not one within a number or a name."""
    assert text.endswith((".", "?")), text
    return len(re.findall(r"[.?](?= |$)", re.sub(r"`[^`]*`", "x", text)))


def test_codes_are_exactly_those_that_findings_have() -> None:
    assert {code for code, _ in RAISED} == CODES.keys()


def test_a_finding_has_the_rules_of_its_code() -> None:
    for code, call in RAISED:
        rules = rules_argument(call)
        if isinstance(rules, ast.Tuple) and all(isinstance(each, ast.Constant) for each in rules.elts):
            assert ast.literal_eval(rules) == CODES[code].rules, code


def test_each_rule_that_is_cited_is_tested() -> None:
    untested = sorted(cited_rules().keys() - TESTED_BY.keys())
    assert untested == []


def test_each_test_that_is_named_exists() -> None:
    functions = {
        node.name
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    named = {number: {names} if isinstance(names, str) else set(names) for number, names in TESTED_BY.items()}
    assert {number: names - functions for number, names in named.items() if names - functions} == {}
    assert all(name.startswith("test_") for names in named.values() for name in names)
    assert named.keys() <= RULES.keys()


def test_the_page_is_what_the_rules_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == rules_page(), "`python -m tests.rules_page` writes it again"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(rule 7)", [7]),
        ("(rules 1-3, 11)", [1, 2, 3, 11]),
        ("Rules 29 to 31.", [29, 30, 31]),
        ("rules 25, 27, and 28", [25, 27, 28]),
        ("    # of a CA (rule\n    # 15)", [15]),
        ("its lifecycle rules delete them", []),
    ],
)
def test_citations_are_read(text: str, numbers: list[int]) -> None:
    assert list(numbers_in(text)) == numbers
