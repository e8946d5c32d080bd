"""YAML text as plain values, with the place of every key and value, and every fault of form.

Made from YAML's node tree rather than from a loader's dictionaries: so all duplicate keys are found at
once, `3.10` can still be shown as it was written, and an alias cannot grow or loop.
"""

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from etcdup.errors import Problem

Loc = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# What the YAML parser complains of, by words in its complaint, in our words.
_SYNTAX_MESSAGES = (
    ("could not find expected ':'", "here begins a key without its `:`"),
    ("mapping values are not allowed", "a `:` does not fit here: two keys in one line, or wrong indentation"),
    ("expected <block end>", "the indentation does not match the lines above"),
    ("expected ',' or ']'", "the `[` of line {opened} is not closed, or a comma is missing before this"),
    ("expected ',' or '}'", "the `{{` of line {opened} is not closed, or a comma is missing before this"),
    ("unexpected end of stream", "this quote is never closed"),
    ("found undefined alias", "`*` begins a reference to something that is not there"),
    ("expected alphabetic or numeric character", "`*` and `&` are signs of YAML: put this value in quotes"),
    ("unknown escape character", "`\\` begins an escape in double quotes: use single quotes"),
    ("expected a single document", "a second document begins here (`---`); the file is to hold one"),
    ("cannot start any token", "this character cannot begin a value: put the value in quotes"),
)
# Complaints whose cause is where the parser began to look, not where it gave up.
_AT_THE_BEGINNING = ("could not find expected ':'", "unexpected end of stream")


@dataclass(frozen=True)
class Position:
    """Where something stands (line and column from 1) and, for a plain value, the text as written."""

    line: int
    column: int
    text: str = ""


@dataclass
class Document:
    """What a file says: its values, where they stand, and what is wrong with its form."""

    data: Any = None
    keys: dict[Loc, Position] = field(default_factory=dict)
    values: dict[Loc, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Parts whose value could not be made out, so nothing may be concluded from their absence.
    unknown: set[Loc] = field(default_factory=set)

    def position_of(self, loc: Loc) -> Position:
        """Where the plain value stands; for a section, its key; for what is not there, the section around."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        if loc in self.values and self.values[loc].text:
            return self.values[loc]
        return self.keys.get(loc) or self.values.get(loc) or Position(0, 0)


def read_document(text: str) -> Document:
    """The file's values and places. Never raises: what cannot be read is in `problems`."""
    document = Document()
    try:
        root = YAML(typ="safe", pure=True).compose(text.removeprefix("\ufeff"))
    except YAMLError as error:
        document.problems = _tab_problems(text) or [_syntax_problem(error, text)]
        return document
    except RecursionError:
        document.problems = [Problem(0, 0, "the brackets are nested too deeply to read")]
        return document
    except Exception as error:  # the parser itself fails on some malformed text
        document.problems = [Problem(0, 0, f"this is not YAML that can be read ({error})")]
        return document
    if root is not None:
        document.data = _Walk(document).value(root, ())
    return document


class _Walk:
    """One pass over the node tree that fills a Document."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen: set[int] = set()

    def value(self, node: Node, loc: Loc) -> Any:
        self.document.values[loc] = _position(node)
        if id(node) in self.seen:
            return self._alias(loc)
        self.seen.add(id(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*loc, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return _scalar(node)

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            at = _position(key_node)
            if not isinstance(key_node, ScalarNode):
                self.document.unknown.add(loc)
                self._report(at, "a key must be a plain word", "is this a template that was never filled in?")
            elif key_node.value in found:
                first = self.document.keys[(*loc, key_node.value)]
                self._report(at, f"`{key_node.value}` is written twice; the first is in line {first.line}")
            else:
                key = key_node.value
                self.document.keys[(*loc, key)] = at
                found[key] = self.value(value_node, (*loc, key))
        return found

    def _alias(self, loc: Loc) -> None:
        """The parser hands an alias over as the very node that it stands for."""
        self.document.unknown.add(loc)
        at = self.document.keys.get(loc) or self.document.values[loc]
        self._report(at, "`*` refers to another part of the file", "write the value out here")

    def _report(self, at: Position, message: str, hint: str = "") -> None:
        self.document.problems.append(Problem(at.line, at.column, message, hint))


def _position(node: Node) -> Position:
    text = node.value if isinstance(node, ScalarNode) else ""
    return Position(node.start_mark.line + 1, node.start_mark.column + 1, str(text))


def _scalar(node: ScalarNode) -> Any:
    """The value that YAML 1.2 gives the text; text whatever else it is tagged as."""
    text = str(node.value)
    plain = text.replace("_", "")
    try:
        match str(node.tag).removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(plain, 0) if plain.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else int(plain)
            case "float":
                return float(plain.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        pass
    return text


def _unprintable(text: str) -> Problem:
    """The parser refuses control characters before it reads a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            if not (character.isprintable() or character in "\t\r\x85\xa0\ufeff"):
                code = f"U+{ord(character):04X}"
                return Problem(
                    number, column, f"a character that cannot be seen ({code}) stands here", "delete it"
                )
    return Problem(0, 0, "the file holds characters that YAML does not allow")


def _tab_problems(text: str) -> list[Problem]:
    """Every line that is indented with a tab, which YAML does not allow."""
    return [
        Problem(
            number, line.index("\t") + 1, "a tab is used to indent", "indent with spaces; YAML allows no tabs"
        )
        for number, line in enumerate(text.split("\n"), start=1)
        if "\t" in line[: len(line) - len(line.lstrip())] and line.strip()
    ]


def _syntax_problem(error: YAMLError, text: str) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        return _unprintable(text)
    complaint = f"{error.problem or ''} {error.context or ''}"
    marks = [mark for mark in (error.problem_mark, error.context_mark) if isinstance(mark, StreamMark)]
    if not marks:
        return Problem(0, 0, f"this is not valid YAML: {complaint.strip()}")
    at = marks[-1] if any(words in complaint for words in _AT_THE_BEGINNING) else marks[0]
    words = next((ours for theirs, ours in _SYNTAX_MESSAGES if theirs in complaint), None)
    words = (
        words.format(opened=marks[-1].line + 1) if words else f"this is not valid YAML: {complaint.strip()}"
    )
    return Problem(at.line + 1, at.column + 1, words)
