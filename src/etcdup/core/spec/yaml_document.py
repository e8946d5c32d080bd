"""Read YAML text into plain values, with the position of each key and value, and all faults of syntax.

The values come from YAML's node tree, not from a loader's dictionaries. So all duplicate keys are found at once,
`3.10` can be shown as it was written, and an alias can neither expand nor loop.
"""

from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StreamMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from etcdup.errors import Problem

Loc = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
# Parts of the YAML parser's messages, each with our message.
_SYNTAX_MESSAGES = (
    ("could not find expected ':'", "this key has no `:`"),
    (
        "mapping values are not allowed",
        "unexpected `:`: two keys are in one line, or the indentation is wrong",
    ),
    ("expected <block end>", "the indentation does not match the lines above"),
    (
        "expected ',' or ']'",
        "the `[` of line {opened} is not closed, or a comma is missing before this position",
    ),
    (
        "expected ',' or '}'",
        "the `{{` of line {opened} is not closed, or a comma is missing before this position",
    ),
    ("unexpected end of stream", "this quote is not closed"),
    ("found undefined alias", "`*` refers to an anchor that does not exist; put the value in quotes"),
    ("expected alphabetic or numeric character", "`*` and `&` are special in YAML; put this value in quotes"),
    ("unknown escape character", "`\\` begins an escape sequence in double quotes; use single quotes"),
    ("expected a single document", "a second document begins here (`---`); the file must contain only one"),
    ("cannot start any token", "a value cannot begin with this character; put the value in quotes"),
)
# For these messages the cause is where the parser began to read, not where it stopped.
_AT_THE_BEGINNING = ("could not find expected ':'", "unexpected end of stream")


@dataclass(frozen=True)
class Position:
    """A position in the file (line and column count from 1) and, for a plain value, the text as written."""

    line: int
    column: int
    text: str = ""


@dataclass
class Document:
    """The content of a file: its values, their positions, and the faults of syntax."""

    data: Any = None
    keys: dict[Loc, Position] = field(default_factory=dict)
    values: dict[Loc, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    # Parts whose value could not be read. That they are absent from `data` does not mean that the file has none.
    unknown: set[Loc] = field(default_factory=set)

    def position_of(self, loc: Loc) -> Position:
        """Return the position of a plain value, of the key of a section, or of the section around an absent key."""
        while loc and loc not in self.values:
            loc = loc[:-1]
        if loc in self.values and self.values[loc].text:
            return self.values[loc]
        return self.keys.get(loc) or self.values.get(loc) or Position(0, 0)


def read_document(text: str) -> Document:
    """Return the values of the file and their positions. Never raise: faults are in `problems`."""
    document = Document()
    try:
        root = YAML(typ="safe", pure=True).compose(text.removeprefix("\ufeff"))
    except YAMLError as error:
        document.problems = _tab_problems(text) or [_syntax_problem(error, text)]
        return document
    except RecursionError:
        document.problems = [Problem(0, 0, "the brackets are nested too deeply")]
        return document
    except Exception as error:  # The parser itself raises other errors on some malformed text.
        document.problems = [Problem(0, 0, f"this is not valid YAML: {error}")]
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
                hint = "if this is a template with {{ }}, fill in its values first"
                self._report(at, "a key must be a plain word", hint)
            elif key_node.value in found:
                first = self.document.keys[(*loc, key_node.value)]
                message = f"`{key_node.value}` is set twice; the first time in line {first.line}"
                self._report(at, message, "remove one of them")
            else:
                key = key_node.value
                self.document.keys[(*loc, key)] = at
                found[key] = self.value(value_node, (*loc, key))
        return found

    def _alias(self, loc: Loc) -> None:
        """Report an alias. The parser returns it as the same node object that the alias refers to."""
        self.document.unknown.add(loc)
        at = self.document.keys.get(loc) or self.document.values[loc]
        self._report(
            at, "references with `*` are not allowed", "write the value here instead of the reference"
        )

    def _report(self, at: Position, message: str, hint: str = "") -> None:
        self.document.problems.append(Problem(at.line, at.column, message, hint))


def _position(node: Node) -> Position:
    text = node.value if isinstance(node, ScalarNode) else ""
    return Position(node.start_mark.line + 1, node.start_mark.column + 1, str(text))


def _scalar(node: ScalarNode) -> Any:
    """Return the value that YAML 1.2 defines for the text. A value with another tag is returned as text."""
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
    """Return the position of the first control character. The parser rejects these before it reads a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        for column, character in enumerate(line, start=1):
            if not (character.isprintable() or character in "\t\r\x85\xa0\ufeff"):
                code = f"U+{ord(character):04X}"
                return Problem(
                    number, column, f"there is an invisible control character here ({code})", "delete it"
                )
    return Problem(0, 0, "the file contains characters that YAML does not allow")


def _tab_problems(text: str) -> list[Problem]:
    """Return a problem for each line whose indentation has a tab, which YAML does not allow."""
    return [
        Problem(number, line.index("\t") + 1, "YAML does not allow a tab in the indentation", "use spaces")
        for number, line in enumerate(text.split("\n"), start=1)
        if "\t" in line[: len(line) - len(line.lstrip())] and line.strip()
    ]


def _syntax_problem(error: YAMLError, text: str) -> Problem:
    if not isinstance(error, MarkedYAMLError):
        return _unprintable(text)
    details = f"{error.problem or ''} {error.context or ''}"
    marks = [mark for mark in (error.problem_mark, error.context_mark) if isinstance(mark, StreamMark)]
    if not marks:
        return Problem(0, 0, f"this is not valid YAML: {details.strip()}")
    at = marks[-1] if any(part in details for part in _AT_THE_BEGINNING) else marks[0]
    known = next((ours for theirs, ours in _SYNTAX_MESSAGES if theirs in details), None)
    message = (
        known.format(opened=marks[-1].line + 1) if known else f"this is not valid YAML: {details.strip()}"
    )
    return Problem(at.line + 1, at.column + 1, message)
