"""The words that STYLE.md replaces do not come back: not in messages, comments, docstrings or documents."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
GENERATED = ("src/etcdup/remote/etcd/pb/",)
# These two name the words.
EXEMPT = ("STYLE.md", "tests/test_words.py")

# Each is a regular expression, with what to write instead.
WORDS = {
    r"whoever|whom": "clients that ..., operators who ...",
    r"nobody(?!:)|somebody": "no client, an operator",
    r"shall": "must, will",
    r"anew": "again",
    r"(?<![.\-/`])aside(?![-`])": "rename to NAME.aside-TIME, archive",
    r"besides?": "next to, in addition to",
    r"of before": "previous",
    r"go(es)? on|went on": "continue, resume",
    r"stands?|standstill": "is; stopped",
    r"(told|tell|tells|telling) of": "report",
    r"turn(s|ed)? away": "reject",
    r"by your word": "because you passed --flag",
    r"the like": "name the things",
    r"cannot be had": "is not available",
    r"lacks?|(?<![.`])lacking": "has no, is missing",
    r"the world": "the cluster state",
    r"mend(s|ed)?": "fix, repair",
    r"worst day": "lost quorum",
    r"hands? over": "transfer",
    r"voices?": "vote",
}
PATTERN = re.compile(
    "|".join(rf"(?P<w{index}>\b(?:{word})\b)" for index, word in enumerate(WORDS)), re.IGNORECASE
)


def sentences_of_python(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each comment and each string constant, parts of f-strings included."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        # A constant of one word is a name: a key of JSON or of an environment.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            yield node.lineno, node.value


def sentences_of(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from sentences_of_python(text)
    else:
        yield from enumerate(text.splitlines(), start=1)


def faults_in(path: Path) -> list[str]:
    name = path.relative_to(CHECKOUT)
    return [
        f"{name}:{line}: {found[0]!r}: write {list(WORDS.values())[int((found.lastgroup or 'w0')[1:])]}"
        for line, text in sentences_of(path)
        for found in PATTERN.finditer(text)
    ]


def texts() -> list[Path]:
    found = [
        *CHECKOUT.glob("*.md"),
        *CHECKOUT.glob("docs/**/*.md"),
        *CHECKOUT.glob("scripts/*"),
        *CHECKOUT.glob("src/**/*.py"),
        *CHECKOUT.glob("tests/**/*.py"),
        *CHECKOUT.glob("tests/**/*.md"),
        CHECKOUT / "Makefile",
        CHECKOUT / "pyproject.toml",
    ]
    names = {path: str(path.relative_to(CHECKOUT)) for path in found if path.is_file()}
    return sorted(
        path for path, name in names.items()
        if name not in EXEMPT and not name.startswith(GENERATED) and "get-pip" not in name
    )  # fmt: skip


def test_plain_words_are_used() -> None:
    assert [fault for path in texts() for fault in faults_in(path)] == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('x = "whoever connects"', 1),
        ('x = f"{n} stands anew"', 2),
        ("# Nobody asks.", 1),
        ('"""It goes on."""', 1),
        ('x = "data.aside-20260101"', 0),
        ("stands = 1", 0),
        ('x = "a client certificate"', 0),
    ],
)
def test_the_search_finds_words_in_sentences_only(source: str, count: int) -> None:
    assert sum(len(PATTERN.findall(text)) for _, text in sentences_of_python(source)) == count
